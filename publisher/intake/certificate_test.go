package intake_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind/internal/certtest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

func pool(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	p, err := certtest.Pool(path)
	must(t, err)
	return p
}

// TestCallersAreKnownByTheirCertificates: by the subject of one that the server has
// verified, within its bounds; an Authorization header says more.
func TestCallersAreKnownByTheirCertificates(t *testing.T) {
	g := newRig(t)
	dir := t.TempDir()
	ca, err := certtest.NewCA(dir, "ca")
	must(t, err)
	other, err := certtest.NewCA(dir, "other")
	must(t, err)
	must(t, ca.Sign("server", pkix.Name{CommonName: "server"}))
	must(t, ca.Sign("ops", pkix.Name{CommonName: "ops", Organization: []string{"Example"}}))
	must(t, ca.Sign("stranger", pkix.Name{CommonName: "ops", Organization: []string{"Example", "More"}}))
	must(t, other.Sign("forged", pkix.Name{CommonName: "ops", Organization: []string{"Example"}}))
	auth, err := intake.NewAuthenticator(intake.AuthConfig{Realms: g.realms, AdminKeySHA256: sha256.Sum256([]byte(adminKey)), Revoked: g.pub.Revoked,
		TLSClients: []intake.TLSClientConfig{{Subject: "CN=ops,O=Example", Realms: []string{"demo"}}}})
	must(t, err)
	t.Cleanup(auth.Close)
	s, err := intake.New(intake.Config{Publisher: g.pub, Authenticator: auth, Realms: g.realms})
	must(t, err)
	srv := httptest.NewUnstartedServer(s)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	must(t, err)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool(t, filepath.Join(dir, "ca.pem")), ClientAuth: tls.VerifyClientCertIfGiven}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ask := func(name, body, contentType, authorization string, path string) (int, string) {
		t.Helper()
		c := &tls.Config{RootCAs: pool(t, filepath.Join(dir, "ca.pem"))}
		if name != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
			must(t, err)
			// Whatever CAs the server names.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c}}
		defer client.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Content-Type", contentType)
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(b)
	}
	const inDemo, inPartner = `{"user":"jack","realm":"demo"}`, `{"user":"jack","realm":"partner"}`
	for name, tc := range map[string]struct {
		cert, body, auth string
		status           int
	}{
		"known":                       {"ops", inDemo, "", 201},
		"known, outside its realm":    {"ops", inPartner, "", 403},
		"known, and a header":         {"ops", inPartner, admin, 201},
		"known, and a wrong header":   {"ops", inDemo, "Bearer x", 401},
		"another subject":             {"stranger", inDemo, "", 401},
		"of another CA":               {"forged", inDemo, "", 0},
		"no certificate":              {"", inDemo, "", 401},
		"no certificate but a header": {"", inDemo, admin, 201},
	} {
		if status, text := ask(tc.cert, tc.body, "application/json", tc.auth, "/v1/revocations"); status != tc.status {
			t.Errorf("%s: got %d %s, want %d", name, status, text, tc.status)
		}
	}
	raw := g.token(t, realm.TokenRequest{User: "jill"})
	if status, text := ask("ops", form("token", raw), "application/x-www-form-urlencoded", "", revokePath); status != 200 || !g.refused(t, raw) {
		t.Errorf("OAuth: %d %s, refused %v", status, text, g.refused(t, raw))
	}
	for _, bad := range [][]intake.TLSClientConfig{{{}}, {{Subject: "CN=a"}, {Subject: "CN=a"}}, {{Subject: "CN=a", Realms: []string{"x"}}}} {
		if _, err := intake.NewAuthenticator(intake.AuthConfig{Realms: g.realms, TLSClients: bad}); err == nil || !strings.Contains(err.Error(), "tls_clients[") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
