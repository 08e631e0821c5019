package intake_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/publisher/intake"
)

func TestTransmittersAreRefusedByTheNameOfTheirField(t *testing.T) {
	realms, err := realm.New(map[string]realm.Config{"main": {Issuers: []string{"https://idp.example"}}}, realm.Options{})
	must(t, err)
	t.Cleanup(realms.Close)
	const from = "https://tr.example"
	for name, tc := range map[string]struct {
		config intake.TransmitterConfig
		want   string
	}{
		"no issuer":          {intake.TransmitterConfig{Realm: "main"}, "ssf_transmitters[0]: issuer"},
		"unknown realm":      {intake.TransmitterConfig{Issuer: from, Realm: "x"}, `realm: no realm is called "x"`},
		"no URL to discover": {intake.TransmitterConfig{Issuer: "tr", Realm: "main"}, "issuer: keys cannot be discovered"},
		"query to discover":  {intake.TransmitterConfig{Issuer: from + "?x", Realm: "main"}, "issuer: keys cannot be discovered"},
		"no key file":        {intake.TransmitterConfig{Issuer: from, Realm: "main", JWKS: "/none"}, "jwks: open /none"},
		"bad hash":           {intake.TransmitterConfig{Issuer: from, Realm: "main", AuthorizationSHA256: "x"}, "authorization_sha256"},
		"hash of nothing":    {intake.TransmitterConfig{Issuer: from, Realm: "main", AuthorizationSHA256: sumOf("")}, "authorization_sha256"},
		"no audience left":   {intake.TransmitterConfig{Issuer: from, Realm: "main", Audience: []string{}}, "audience: is empty"},
		"no kinds left":      {intake.TransmitterConfig{Issuer: from, Realm: "main", Kinds: []events.Kind{}}, "kinds: is empty"},
		"unknown kind":       {intake.TransmitterConfig{Issuer: from, Realm: "main", Kinds: []events.Kind{"x"}}, "kinds: unknown"},
		"no events left":     {intake.TransmitterConfig{Issuer: from, Realm: "main", Events: []string{}}, "events: is empty"},
		"event of no URI":    {intake.TransmitterConfig{Issuer: from, Realm: "main", Events: []string{"session-revoked"}}, "events: "},
		"token to poll":      {intake.TransmitterConfig{Issuer: from, Realm: "main", Poll: intake.PollConfig{TokenFile: "x"}}, "poll: url is missing"},
		"poll of no URL":     {intake.TransmitterConfig{Issuer: from, Realm: "main", Poll: intake.PollConfig{URL: "x"}}, "poll: url"},
		"poll with password": {intake.TransmitterConfig{Issuer: from, Realm: "main", Poll: intake.PollConfig{URL: "https://a:secret@tr.example"}}, "poll: url"},
	} {
		_, err := intake.OpenTransmitters([]intake.TransmitterConfig{tc.config}, realms, realm.Options{})
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	one := intake.TransmitterConfig{Issuer: from, Realm: "main"}
	if _, err := intake.OpenTransmitters([]intake.TransmitterConfig{one, one}, realms, realm.Options{}); err == nil ||
		!strings.Contains(err.Error(), "ssf_transmitters[1]: issuer: is listed twice") {
		t.Error(err)
	}
}

func TestTransmittersReadAsTheDocumentationHasThem(t *testing.T) {
	const doc = `{issuer: "https://tr.example", realm: main, tenant: acme, audience: [a], jwks: keys.json, authorization_sha256: ab, kinds: [user],
events: ["x:y"], poll: {url: "https://tr.example/poll", token_file: token}}`
	var c intake.TransmitterConfig
	dec := yaml.NewDecoder(strings.NewReader(doc))
	dec.KnownFields(true)
	must(t, dec.Decode(&c))
	if c.Issuer == "" || c.Realm == "" || c.Tenant == "" || c.Audience == nil || c.JWKS == "" || c.AuthorizationSHA256 == "" || c.Kinds == nil || c.Events == nil ||
		c.Poll.URL == "" || c.Poll.TokenFile == "" {
		t.Errorf("%+v", c)
	}
}
