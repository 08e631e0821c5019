package realm

import "github.com/golang-jwt/jwt/v5"

// Introspection is an answer of RFC 7662 section 2.2. An inactive one has no other
// member: it says nothing of why.
type Introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Username  string `json:"username,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	Expires   int64  `json:"exp,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	NotBefore int64  `json:"nbf,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Audience  any    `json:"aud,omitempty"`
	Issuer    string `json:"iss,omitempty"`
	JTI       string `json:"jti,omitempty"`
	// Confirmation binds the token to a key (RFC 7800): whoever asks must see it,
	// or would take a stolen token.
	Confirmation any `json:"cnf,omitempty"`
}

// Introspection is the answer for a token that is active.
func (v *Verified) Introspection() Introspection {
	username := v.firstClaim("username", "preferred_username")
	if v.Realm.UserClaim != "sub" && v.User() != "" {
		username = v.User()
	}
	return Introspection{Active: true, Scope: v.claim("scope"), ClientID: v.Client(), Username: username,
		TokenType: tokenType(v.Claims), Expires: v.Token.Expires, IssuedAt: v.Token.IssuedAt, NotBefore: int64(v.notBefore),
		Subject: v.claim("sub"), Audience: v.Claims["aud"], Issuer: v.Token.Issuer, JTI: v.Token.JTI,
		Confirmation: v.Claims["cnf"]}
}

// tokenType is DPoP for a token that is bound to a key by RFC 9449.
func tokenType(claims jwt.MapClaims) string {
	cnf, _ := claims["cnf"].(map[string]any)
	if _, bound := cnf["jkt"]; bound {
		return "DPoP"
	}
	return "Bearer"
}
