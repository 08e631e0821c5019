package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/elastic/go-elasticsearch/v9"
)

// esClient is Elasticsearch's own Go client with its defaults.
func esClient(t *testing.T, url, apiKey string) *elasticsearch.Client {
	t.Helper()
	cfg := elasticsearch.Config{Addresses: []string{url}}
	if apiKey != "" {
		cfg.APIKey = apiKey
	}
	c, err := elasticsearch.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type esAnswer struct {
	Invalidated int   `json:"invalidated_tokens"`
	Previously  int   `json:"previously_invalidated_tokens"`
	ErrorCount  int   `json:"error_count"`
	Details     []any `json:"error_details"`
	Error       struct {
		Type, Reason string
		CausedBy     struct{ Type, Reason string } `json:"caused_by"`
	}
	Status int
}

// invalidate calls Security.InvalidateToken.
func invalidate(t *testing.T, c *elasticsearch.Client, body string) (int, esAnswer) {
	t.Helper()
	res, err := c.Security.InvalidateToken(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a esAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("%s: %s: %v", body, b, err)
	}
	return res.StatusCode, a
}

// up starts rescind up and gives the URLs of publisher and agent, and the key.
func up(t *testing.T) (dir, publisher, agent, key string) {
	t.Helper()
	dir = t.TempDir()
	p := start(t, "up", "--dir", dir, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0")
	publisher, agent = p.find(`publisher +(http://\S+)`), p.find(`agent +(http://\S+)`)
	return dir, publisher, agent, readFile(t, p.find(`admin key +(\S+)`))
}

func TestElasticsearchClientDrivesEveryRowOfTheContract(t *testing.T) {
	dir, publisher, agentURL, key := up(t)
	es := esClient(t, publisher, key)
	token := func(args ...string) string {
		raw := rescind(t, append([]string{"token", "--dir", dir}, args...)...)
		if status, body := get(t, agentURL+"/check", raw); status != http.StatusOK {
			t.Fatalf("a fresh token: %d %s", status, body)
		}
		return raw
	}
	quote := func(member, v string) string {
		b, err := json.Marshal(map[string]string{member: v})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := func(name, body string, status, invalidated, previously int) {
		t.Helper()
		got, a := invalidate(t, es, body)
		if got != status || a.Invalidated != invalidated || a.Previously != previously || a.ErrorCount != 0 {
			t.Errorf("%s: %d %+v, want %d with %d and %d", name, got, a, status, invalidated, previously)
		}
	}
	refused := func(name, raw string) {
		t.Helper()
		if status, body := get(t, agentURL+"/check", raw); status != http.StatusUnauthorized {
			t.Errorf("%s: the agent answers %d %s, want 401", name, status, body)
		}
	}

	ann := token("--user", "ann")
	want("token", quote("token", ann), 200, 1, 0)
	refused("token", ann)
	want("the same token again", quote("token", ann), 200, 0, 1)
	rs := token("--user", "ann", "--alg", "RS256")
	want("token of another algorithm", quote("token", rs), 200, 1, 0)
	want("unknown token", quote("token", "nobody-knows-this"), 404, 0, 0)
	want("blank token", quote("token", "  "), 404, 0, 0)
	want("token shaped like a JWT", quote("token", "eyJhbGciOiJFZERTQSJ9.e30.AAAA"), 404, 0, 0)
	want("unknown refresh token", quote("refresh_token", "nobody-knows-this-either"), 404, 0, 0)

	observe := `{"refresh_token":"opaque-refresh-1","realm":"demo","user":"bob","expires_at":` + inAnHour() + `}`
	if status, body := request(t, http.MethodPost, agentURL+"/observe", "", observe); status != http.StatusNoContent {
		t.Fatalf("observing: %d %s", status, body)
	}
	bob := token("--user", "bob")
	want("user with an access and a refresh token", `{"username":"bob","realm_name":"demo"}`, 200, 2, 0)
	refused("user in realm", bob)
	want("the same user again", `{"username":"bob","realm_name":"demo"}`, 200, 0, 0)
	observe = strings.ReplaceAll(observe, "refresh-1", "refresh-2")
	if status, body := request(t, http.MethodPost, agentURL+"/observe", "", observe); status != http.StatusNoContent {
		t.Fatalf("observing: %d %s", status, body)
	}
	want("observed refresh token", quote("refresh_token", "opaque-refresh-2"), 200, 1, 0)
	want("the same refresh token again", quote("refresh_token", "opaque-refresh-2"), 200, 0, 1)

	cat, catElsewhere := token("--user", "cat"), token("--user", "cat", "--realm", "partner")
	want("user in every realm", `{"username":"cat"}`, 200, 2, 0)
	refused("user in every realm", cat)
	refused("user in every realm", catElsewhere)
	dan := token("--user", "dan", "--realm", "partner")
	status, a := invalidate(t, es, `{"realm_name":"partner"}`)
	if status != 200 || a.Invalidated != 1 {
		t.Errorf("realm: %d %+v, want 200 with 1", status, a)
	}
	refused("realm", dan)
	want("a user whom nobody knows", `{"username":"nobody"}`, 200, 0, 0)
}

func inAnHour() string {
	b, err := json.Marshal(time.Now().Add(time.Hour).Unix())
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestElasticsearchErrorsAreThoseOfTheContract(t *testing.T) {
	dir, publisher, _, key := up(t)
	es := esClient(t, publisher, key)
	raw := rescind(t, "token", "--dir", dir, "--user", "ann")
	const validation = "action_request_validation_exception"
	for _, tc := range []struct{ name, body, kind, reason, cause string }{
		{"nothing", `{}`, validation, "Validation Failed: 1: token string must be provided when not specifying a realm name or a username;", ""},
		{"all empty", `{"token":"","refresh_token":"","realm_name":"","username":""}`, validation,
			"Validation Failed: 1: token string must be provided when not specifying a realm name or a username;", ""},
		{"token with a user", `{"token":"` + raw + `","username":"ann"}`, validation,
			"Validation Failed: 1: token string must not be provided when realm name or username is specified;2: token type must not be provided when realm name or username is specified;", ""},
		{"blank token with a realm", `{"token":"  ","realm_name":"demo"}`, validation,
			"Validation Failed: 1: token type must not be provided when realm name or username is specified;", ""},
		{"both tokens", `{"token":"a","refresh_token":"b"}`, "x_content_parse_exception",
			"Failed to build [invalidate_token] after last required field arrived",
			"only one of [token, refresh_token] may be sent per request"},
		{"unknown member", `{"x":"y"}`, "x_content_parse_exception", "[1:2] [invalidate_token] unknown field [x]", ""},
	} {
		status, a := invalidate(t, es, tc.body)
		if status != 400 || a.Status != 400 || a.Error.Type != tc.kind || a.Error.Reason != tc.reason || a.Error.CausedBy.Reason != tc.cause {
			t.Errorf("%s: %d %+v, want 400 %s %q %q", tc.name, status, a, tc.kind, tc.reason, tc.cause)
		}
	}
	res, err := es.Security.InvalidateToken(bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("no body: %d, want 400", res.StatusCode)
	}
	for name, c := range map[string]*elasticsearch.Client{"none": esClient(t, publisher, ""), "wrong": esClient(t, publisher, "d3Jvbmc6d3Jvbmc=")} {
		if status, a := invalidate(t, c, `{"username":"ann"}`); status != 401 || a.Error.Type != "security_exception" {
			t.Errorf("credentials %s: %d %+v, want 401 security_exception", name, status, a)
		}
	}
}

// attempts counts a client's tries and what they got.
type attempts struct{ statuses []int }

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		a.statuses = append(a.statuses, res.StatusCode)
	}
	return res, err
}

func TestBusAwayIsToldToEachTryAndCountsAsOneCall(t *testing.T) {
	f := startFleet(t, "a", "b")
	tries := &attempts{}
	es, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{f.pubURL}, APIKey: f.adminKey, Transport: tries})
	if err != nil {
		t.Fatal(err)
	}
	raw := f.token("--user", "ann")
	for name, a := range f.agents {
		if status := a.check(raw); status != 200 {
			t.Fatalf("agent %s: a fresh token: %d", name, status)
		}
	}
	f.nats.kill()
	eventually(t, 10*time.Second, "the publisher notices", func() bool {
		status, _ := get(t, f.pubURL+"/readyz", "")
		return status == 503
	})
	status, a := invalidate(t, es, `{"username":"ann","realm_name":"demo"}`)
	if status != 503 || a.Error.Reason != "unable to perform requested action" {
		t.Errorf("%d %+v, want 503", status, a)
	}
	if len(tries.statuses) != 4 {
		t.Errorf("the client tried %v, want four times", tries.statuses)
	}
	for _, s := range tries.statuses {
		if s != 503 {
			t.Errorf("tries got %v, want 503 each", tries.statuses)
		}
	}
	f.startNATS()
	took := eventually(t, 20*time.Second, "every agent refuses", func() bool {
		for _, a := range f.agents {
			if a.check(raw) != 401 {
				return false
			}
		}
		return true
	})
	t.Logf("every agent refused %s after NATS was back", took.Round(time.Millisecond))
	f.ready(2)
	eventually(t, 20*time.Second, "every agent has the digest of one call", func() bool {
		list := f.list()
		for _, a := range list {
			if a.Entries != 1 || a.Digest != list[0].Digest {
				return false
			}
		}
		return len(list) == 2
	})
}
