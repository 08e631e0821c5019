package intake

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/rescind/rescind/internal/realm"
)

// oauthMetadata is what RFC 8414 section 2 has of a server that issues nothing.
type oauthMetadata struct {
	Issuer            string   `json:"issuer"`
	Revocation        string   `json:"revocation_endpoint"`
	RevocationAuth    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	Introspection     string   `json:"introspection_endpoint"`
	IntrospectionAuth []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgs []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	Global            string   `json:"global_token_revocation_endpoint,omitempty"`
	GlobalAuth        []string `json:"global_token_revocation_endpoint_auth_methods_supported,omitempty"`
	Documentation     string   `json:"service_documentation"`
}

// metadata is GET /.well-known/oauth-authorization-server.
func (d oauthDoor) metadata(w http.ResponseWriter, _ *http.Request) error {
	confidential := []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}
	m := oauthMetadata{
		Issuer:         d.s.pub.Issuer(),
		Revocation:     d.s.endpoint(revokePath),
		RevocationAuth: append(confidential[:len(confidential):len(confidential)], "none"),
		RevocationAlgs: realm.Algorithms(),
		Introspection:  d.s.endpoint(introspectPath), IntrospectionAuth: confidential, IntrospectionAlgs: realm.Algorithms(),
		Documentation: documentation,
	}
	if d.s.global {
		m.Global, m.GlobalAuth = d.s.endpoint(globalPath), []string{globalType}
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	writeJSON(w, "application/json", http.StatusOK, m)
	return nil
}

// endpoint is the URL of a path as others see it.
func (s *Server) endpoint(path string) string { return strings.TrimSuffix(s.pub.Issuer(), "/") + path }

// wellKnown are the paths of a well-known document: the plain one, and the one with
// the path of the issuer behind it (RFC 8414 section 3.1), where it has a path.
func wellKnown(name, issuer string) []string {
	path := "/.well-known/" + name
	u, err := url.Parse(issuer)
	if err != nil || strings.Trim(u.Path, "/") == "" {
		return []string{path}
	}
	return []string{path, path + "/" + strings.Trim(u.Path, "/")}
}
