package main

import (
	"encoding/base64"
	"fmt"

	"github.com/rescind/rescind/events"
)

// query is one token to be decided on, as the code that verified it has it.
type query struct {
	tok *events.Token
	sub string
}

// Tokens are made in these proportions: of those that are not revoked, every
// eighth belongs to a revoked user who has signed in again since; of those that
// are, every other is revoked by its user.
const (
	returnedEvery = 8
	byUserEvery   = 2
)

// misses are tokens that nothing in the stock hits.
func misses(count, users int) ([]query, error) {
	return queries(count, func(i int) (string, string, int64) {
		if i%returnedEvery == 0 {
			return jti(named + i), user(int(mix(uint64(i)) % uint64(users))), cutoff + 60
		}
		return jti(named + i), fmt.Sprintf("person-%08d", i), cutoff + 60
	})
}

// hits are tokens each of which something in the stock hits.
func hits(count int, s stock) ([]query, error) {
	return queries(count, func(i int) (string, string, int64) {
		if i%byUserEvery == 0 {
			return jti(named + i), user(int(mix(uint64(i)) % uint64(s.users))), cutoff - 60
		}
		return jti(int(mix(uint64(i)) % uint64(min(s.identities, named)))), fmt.Sprintf("person-%08d", i), cutoff + 60
	})
}

func queries(count int, claims func(i int) (jti, sub string, iat int64)) ([]query, error) {
	out := make([]query, count)
	for i := range out {
		jti, sub, iat := claims(i)
		tok, err := events.ParseToken(rawToken(jti, sub, iat))
		if err != nil {
			return nil, err
		}
		out[i] = query{tok, sub}
	}
	return out, nil
}

// rawToken has the claims of a usual access token (RFC 9068). Its signature is
// none: it is for readers that do not look at it.
func rawToken(jti, sub string, iat int64) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"1"}`)) + "." + b64(fmt.Appendf(nil,
		`{"iss":%q,"sub":%q,"aud":"https://api.example.com","jti":%q,"sid":"s-%s","client_id":"web","azp":"web","scope":"openid profile","iat":%d,"exp":%d}`,
		issuer, sub, jti, jti, iat, iat+24*3600)) + "." + b64([]byte("not signed"))
}

// touch brings the tokens into the processor's cache, where a token that has just
// been parsed is.
func touch(block []query) (sum int) {
	for i := range block {
		q := &block[i]
		key, _ := q.tok.Claim("sub")
		iss := q.tok.IssuerKey()
		sum += int(q.tok.Identity[0]) + int(q.tok.Identity[31]) + int(key[0]) + int(iss[0]) + int(q.sub[0]) + int(q.tok.IssuedAt)
	}
	return sum
}
