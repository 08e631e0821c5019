package guard_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

func TestPreflightPassesOnlyWhereAllowedAndOnlyAsOne(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	browser := []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "DELETE"}
	noToken := answer{Status: 401, Challenge: bare}
	for name, c := range map[string]struct {
		method string
		header []string
		want   answer
	}{
		"preflight":              {"OPTIONS", browser, passed},
		"another method":         {"DELETE", browser, noToken},
		"lower case":             {"options", browser, noToken},
		"no origin":              {"OPTIONS", browser[2:], noToken},
		"no requested method":    {"OPTIONS", browser[:2], noToken},
		"with a good token":      {"OPTIONS", append([]string{"Authorization", "Bearer " + raw}, browser...), passed},
		"with a bad token":       {"OPTIONS", append([]string{"Authorization", "Bearer abc"}, browser...), invalid("malformed")},
		"with an empty header":   {"OPTIONS", append([]string{"Authorization", ""}, browser...), malformedHeader},
		"method said in headers": {"POST", append([]string{"X-HTTP-Method-Override", "OPTIONS"}, browser...), noToken},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Add(c.header[i], c.header[i+1])
		}
		if diff := cmp.Diff(c.want, serveRequest(guard.Middleware(agent, f.Verify, guard.AllowPreflight()), r)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if name == "preflight" {
			c.want = noToken
		}
		if diff := cmp.Diff(c.want, serveRequest(guard.Middleware(agent, f.Verify), r)); diff != "" {
			t.Errorf("%s, where it is not allowed: %s", name, diff)
		}
	}
}

// A handler sees what was decided, and from what knowledge.
func TestHandlersSeeTheVerdict(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	see := func(h func(http.Handler) http.Handler, method string, header ...string) (a guard.Admitted, ok bool) {
		r := httptest.NewRequest(method, "/", nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		h(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { a, ok = guard.FromContext(r.Context()) })).
			ServeHTTP(httptest.NewRecorder(), r)
		return a, ok
	}
	bearer := []string{"Authorization", "Bearer " + raw}
	h := guard.Middleware(agent, f.Verify)
	if a, ok := see(h, "GET", bearer...); !ok || a.State != "fresh" || a.Token == nil || a.Claims["sub"] != "ann" {
		t.Errorf("fresh: %+v", a)
	}
	if a, ok := see(guard.Middleware(agent, nil, guard.RevocationOnly()), "GET", bearer...); !ok || a.State != "fresh" || a.Token == nil || a.Claims != nil {
		t.Errorf("revocation only: %+v", a)
	}
	if a, ok := see(guard.Middleware(agent, f.Verify, guard.AllowAnonymous()), "GET"); !ok || a.State != "" || a.Token != nil || a.Claims != nil {
		t.Errorf("anonymous: %+v", a)
	}
	if a, ok := see(func(h http.Handler) http.Handler { return h }, "GET", bearer...); ok {
		t.Errorf("unguarded: %+v", a)
	}
	f.Owe(t)
	bustest.Eventually(t, "the verdict says that it rests on old knowledge", func() bool {
		a, ok := see(h, "GET", bearer...)
		return ok && a.State == "stale" && a.Claims["sub"] == "ann"
	})
}

// catchingUp is an agent that becomes fresh while it is asked.
type catchingUp struct {
	*subscriber.Agent
	state events.State
}

func (c *catchingUp) State() events.State { return c.state }

func (c *catchingUp) Check(t *events.Token) error {
	c.state = events.Fresh
	return c.Agent.Check(t)
}

func TestVerdictNeverClaimsMoreThanItRestsOn(t *testing.T) {
	f := guardtest.Start(t)
	g, err := guard.New(&catchingUp{f.Fresh(t), events.Stale}, f.Verify)
	if err != nil {
		t.Fatal(err)
	}
	a, err := g.AdmitToken(t.Context(), f.Token(t, realm.TokenRequest{User: "ann"}))
	if err != nil || a.State != events.Stale {
		t.Errorf("got %q, %v", a.State, err)
	}
}
