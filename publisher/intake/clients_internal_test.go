package intake

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/rescind/rescind/internal/realm"
)

// devRealms are the development realms, and what issues their tokens.
func devRealms(tb testing.TB) (*realm.Dev, *realm.Realms) {
	tb.Helper()
	dev, err := realm.OpenDev(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	realms, err := realm.New(dev.Configs(), realm.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(realms.Close)
	return dev, realms
}

// FuzzClientForm: whatever a form and its headers hold, only the right secret, or the
// bare name of a public client, makes a caller.
func FuzzClientForm(f *testing.F) {
	_, realms := devRealms(f)
	secret, sum := NewAPIKey()
	a, err := NewAuthenticator(AuthConfig{Realms: realms, Clients: []ClientConfig{
		{ID: "web", Realm: "demo", SecretSHA256: sum}, {ID: "spa", Realm: "demo", Public: true}}})
	if err != nil {
		f.Fatal(err)
	}
	defer a.Close()
	for _, body := range []string{"client_id=web&client_secret=" + secret, "client_id=spa", "client_id=web&client_assertion=a.b.c&client_assertion_type=" +
		url.QueryEscape(assertionType), "client_id=spa&client_id=web", "a;b", "%zz", ""} {
		f.Add(body, "")
		f.Add(body, "Basic "+base64.StdEncoding.EncodeToString([]byte("web:"+secret)))
		f.Add(body, "Basic d2ViOiV6eg==")
	}
	f.Fuzz(func(t *testing.T, body, header string) {
		r := httptest.NewRequest(http.MethodPost, revokePath, strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		if header != "" {
			r.Header["Authorization"] = []string{header}
		}
		form, err := readForm(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		c, err := a.authenticateForm(r, form, []string{"https://rescind.example"})
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		shown := strings.Contains(body, secret[4:]) || strings.Contains(header, base64.StdEncoding.EncodeToString([]byte("web:" + secret))[8:])
		if c != nil && c.Client == "web" && !shown || c != nil && c.Client == "spa" && (header != "" || !c.Public) {
			t.Errorf("%q and %q make %+v", body, header, c)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Error("the secret is in an error")
		}
	})
}
