package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/internal/tokentest"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/guard"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// answer is what a client sees.
type answer struct {
	Status                       int
	Challenge, RetryAfter, Error string
}

const (
	bare           = `Bearer realm="rescind"`
	invalidRequest = bare + `, error="invalid_request", error_description="The request must carry exactly one token, in one Authorization header"`
)

func invalid(description string) answer {
	return answer{Status: 401, Challenge: bare + `, error="invalid_token", error_description="` + description + `"`,
		Error: `{"error":"invalid_token","error_description":"` + description + `"}`}
}

func unavailable(description string) answer {
	return answer{Status: 503, RetryAfter: "1", Error: `{"error":"temporarily_unavailable","error_description":"` + description + `"}`}
}

var (
	passed          = answer{Status: 204}
	malformedHeader = answer{Status: 400, Challenge: invalidRequest,
		Error: `{"error":"invalid_request","error_description":"The request must carry exactly one token, in one Authorization header"}`}
)

// serve sends a request with the Authorization headers through the middleware to
// a handler that answers 204.
func serve(h func(http.Handler) http.Handler, target string, authorization ...string) answer {
	r := httptest.NewRequest("GET", target, nil)
	r.Header["Authorization"] = authorization
	return serveRequest(h, r)
}

func serveRequest(h func(http.Handler) http.Handler, r *http.Request) answer {
	w := httptest.NewRecorder()
	h(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })).ServeHTTP(w, r)
	return answer{w.Code, w.Header().Get("WWW-Authenticate"), w.Header().Get("Retry-After"), strings.TrimSpace(w.Body.String())}
}

// recorder is an agent that keeps what it is told to observe.
type recorder struct {
	*subscriber.Agent
	mu       sync.Mutex
	observed []events.Identity
}

func (r *recorder) Observe(t *events.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observed = append(r.observed, t.Identity)
	r.Agent.Observe(t)
}

func TestOnlyOneWellFormedTokenIsRead(t *testing.T) {
	f := guardtest.Start(t)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	h := guard.Middleware(f.Fresh(t), f.Verify)
	for name, c := range map[string]struct {
		authorization []string
		target        string
		want          answer
	}{
		"bearer":                   {[]string{"Bearer " + raw}, "/", passed},
		"lower case":               {[]string{"bearer " + raw}, "/", passed},
		"DPoP":                     {[]string{"dPoP " + raw}, "/", passed},
		"another query":            {[]string{"Bearer " + raw}, "/?a=access_token", passed},
		"none":                     {nil, "/", answer{Status: 401, Challenge: bare}},
		"none, one in the query":   {nil, "/?access_token=" + raw, answer{Status: 401, Challenge: bare}},
		"another scheme":           {[]string{"Basic YTpi"}, "/", answer{Status: 401, Challenge: bare}},
		"twice":                    {[]string{"Bearer " + raw, "Bearer " + raw}, "/", malformedHeader},
		"joined":                   {[]string{"Bearer " + raw + ",Bearer " + raw}, "/", malformedHeader},
		"joined with a blank":      {[]string{"Bearer " + raw + ", Bearer " + raw}, "/", malformedHeader},
		"empty":                    {[]string{""}, "/", malformedHeader},
		"scheme only":              {[]string{"Bearer"}, "/", malformedHeader},
		"scheme and blank":         {[]string{"Bearer "}, "/", malformedHeader},
		"token only":               {[]string{raw}, "/", malformedHeader},
		"two blanks":               {[]string{"Bearer  " + raw}, "/", malformedHeader},
		"tab":                      {[]string{"Bearer\t" + raw}, "/", malformedHeader},
		"trailing blank":           {[]string{"Bearer " + raw + " "}, "/", malformedHeader},
		"two tokens":               {[]string{"Bearer " + raw + " " + raw}, "/", malformedHeader},
		"quoted":                   {[]string{`Bearer "` + raw + `"`}, "/", malformedHeader},
		"not ASCII":                {[]string{"Bearer " + raw + "\xc3\xa9"}, "/", malformedHeader},
		"parameters":               {[]string{`Digest username="a", realm="b"`}, "/", malformedHeader},
		"in the query too":         {[]string{"Bearer " + raw}, "/?access_token=x", malformedHeader},
		"in the query too, hidden": {[]string{"Bearer " + raw}, "/?access%5Ftoken=x", malformedHeader},
		"opaque":                   {[]string{"Bearer abc"}, "/", invalid("malformed")},
		"padded":                   {[]string{"Bearer " + raw + "="}, "/", invalid("malformed")},
		"too long":                 {[]string{"Bearer " + strings.Repeat("a", events.MaxTokenBytes+1)}, "/", invalid("malformed")},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, serve(h, c.target, c.authorization...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRevokedTokenIsRefusedWhateverItsSignatureLooksLike(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(f.Fresh(t), f.Verify)
	for _, alg := range tokentest.Algorithms {
		t.Run(alg, func(t *testing.T) {
			raw := f.Token(t, realm.TokenRequest{User: "ann", Alg: alg})
			other := f.Token(t, realm.TokenRequest{User: "ann", Alg: alg})
			if got := serve(h, "/", "Bearer "+raw); got != passed {
				t.Fatalf("before: %+v", got)
			}
			f.RevokeToken(t, raw)
			bustest.Eventually(t, "the token is refused", func() bool {
				return serve(h, "/", "Bearer "+raw) == invalid("revoked")
			})
			for name, v := range tokentest.Variants(t, alg, raw) {
				if got := serve(h, "/", "Bearer "+v); got.Status == passed.Status {
					t.Errorf("%s: passed", name)
				}
			}
			if got := serve(h, "/", "Bearer "+other); got != passed {
				t.Errorf("another token: %+v", got)
			}
		})
	}
}

func TestEquivalentSignatureIsTheSameToken(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(f.Fresh(t), f.Verify)
	raw := f.Token(t, realm.TokenRequest{User: "ann", Alg: "ES256"})
	twin := tokentest.Variants(t, "ES256", raw)["n-s"]
	if got := serve(h, "/", "Bearer "+twin); got != passed {
		t.Fatalf("the twin does not verify: %+v", got)
	}
	f.RevokeToken(t, raw)
	bustest.Eventually(t, "the twin is refused", func() bool {
		return serve(h, "/", "Bearer "+twin) == invalid("revoked")
	})
}

func TestOnlyVerifiedTokensAreObserved(t *testing.T) {
	f := guardtest.Start(t)
	r := &recorder{Agent: f.Fresh(t)}
	h := guard.Middleware(r, f.Verify)
	good := f.Token(t, realm.TokenRequest{User: "ann"})
	forged := good[:len(good)-8] + "AAAAAAAA"
	want := []events.Identity{guardtest.Parse(t, good).Identity}
	for _, raw := range []string{forged, f.Token(t, realm.TokenRequest{User: "ann", TTL: -time.Hour}), "abc", good} {
		serve(h, "/", "Bearer "+raw)
	}
	if diff := cmp.Diff(want, r.observed); diff != "" {
		t.Error(diff)
	}
	serve(guard.Middleware(r, nil, guard.RevocationOnly()), "/", "Bearer "+f.Token(t, realm.TokenRequest{User: "bob"}))
	if diff := cmp.Diff(want, r.observed); diff != "" {
		t.Errorf("without verify: %s", diff)
	}
}

func TestRefusedTokensAreObservedTooSoThatTheyAreCounted(t *testing.T) {
	f := guardtest.Start(t)
	r := &recorder{Agent: f.Fresh(t)}
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	f.RevokeUser(t, "ann")
	bustest.Eventually(t, "the token is refused", func() bool { return r.Check(guardtest.Parse(t, raw)) != nil })
	if got := serve(guard.Middleware(r, f.Verify), "/", "Bearer "+raw); got != invalid("revoked") || len(r.observed) != 1 {
		t.Errorf("got %+v, observed %d", got, len(r.observed))
	}
}

func TestRevocationOnlyRefusesWhatWasRevoked(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(f.Fresh(t), nil, guard.RevocationOnly())
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	if got := serve(h, "/", "Bearer "+raw); got != passed {
		t.Fatalf("got %+v", got)
	}
	f.RevokeUser(t, "ann")
	bustest.Eventually(t, "the token is refused", func() bool {
		return serve(h, "/", "Bearer "+raw) == invalid("revoked")
	})
}

func TestVerifyDecidesTheAnswer(t *testing.T) {
	f := guardtest.Start(t)
	agent, raw := f.Fresh(t), f.Token(t, realm.TokenRequest{User: "ann"})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want answer
	}{
		"no":          {t.Context(), errors.New("no"), invalid("not accepted")},
		"expired":     {t.Context(), fmt.Errorf("x: %w", jwt.ErrTokenExpired), invalid("expired")},
		"unavailable": {t.Context(), fmt.Errorf("x: %w", guard.ErrUnavailable), unavailable("The token cannot be verified now")},
		"cancelled":   {gone, context.Canceled, unavailable("The token cannot be verified now")},
		"forbidden": {t.Context(), fmt.Errorf("x: %w", guard.ErrForbidden), answer{Status: 403,
			Error: `{"error":"access_denied","error_description":"The access token is not allowed here"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			h := guard.Middleware(agent, func(context.Context, string) (jwt.MapClaims, error) { return nil, c.err })
			r := httptest.NewRequestWithContext(c.ctx, "GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+raw)
			if diff := cmp.Diff(c.want, serveRequest(h, r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSecurityEventIsNoAccessToken(t *testing.T) {
	f := guardtest.Start(t)
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"iss": "x", "events": map[string]any{}}).SignedString([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	h := guard.Middleware(f.Fresh(t), func(context.Context, string) (jwt.MapClaims, error) { return nil, nil })
	if diff := cmp.Diff(invalid("not an access token"), serve(h, "/", "Bearer "+raw)); diff != "" {
		t.Error(diff)
	}
}

func TestAgentThatKnowsNothingLetsNobodyPass(t *testing.T) {
	f := guardtest.Start(t)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	agent := f.Unsynced(t)
	h := guard.Middleware(agent, f.Verify)
	if diff := cmp.Diff(unavailable("What was revoked is not known yet"), serve(h, "/", "Bearer "+raw)); diff != "" {
		t.Error(diff)
	}
	f.Refresh(t, agent)
	if got := serve(h, "/", "Bearer "+raw); got != passed {
		t.Errorf("once fresh: %+v", got)
	}
}

func TestMaxStalenessIsEachRoutesOwn(t *testing.T) {
	f := guardtest.Start(t)
	raw, agent := f.Token(t, realm.TokenRequest{User: "ann"}), f.Fresh(t)
	strict, any := guard.Middleware(agent, f.Verify, guard.MaxStaleness(time.Nanosecond)), guard.Middleware(agent, f.Verify)
	if diff := cmp.Diff(unavailable("What was revoked is known only up to too long ago"), serve(strict, "/", "Bearer "+raw)); diff != "" {
		t.Error(diff)
	}
	if got := serve(any, "/", "Bearer "+raw); got != passed {
		t.Errorf("got %+v", got)
	}
	f.RevokeUser(t, "ann")
	bustest.Eventually(t, "a revoked token is refused as such, however old the knowledge", func() bool {
		return serve(strict, "/", "Bearer "+raw) == invalid("revoked")
	})
}

func TestAgentIsAskedWhoeverReadTheToken(t *testing.T) {
	f := guardtest.Start(t)
	raw, other := f.Token(t, realm.TokenRequest{User: "ann"}), f.Token(t, realm.TokenRequest{User: "bob"})
	tok := guardtest.Parse(t, raw)
	h := guard.Middleware(f.Fresh(t), nil, guard.ReadBy(func(_ context.Context, shown string) (*guard.Admitted, error) {
		if shown != raw {
			return nil, errors.New("not that one")
		}
		return &guard.Admitted{Token: tok}, nil
	}))
	if got := serve(h, "/", "Bearer "+raw); got != passed {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff(invalid("not accepted"), serve(h, "/", "Bearer "+other)); diff != "" {
		t.Error(diff)
	}
	f.RevokeUser(t, "ann")
	bustest.Eventually(t, "the token is refused", func() bool {
		return serve(h, "/", "Bearer "+raw) == invalid("revoked")
	})
}

// bounded is an agent whose own bound is exceeded.
type bounded struct{ *subscriber.Agent }

func (b bounded) Check(t *events.Token) error { return b.CheckWithin(t, time.Nanosecond) }

func TestAgentsOwnBoundHoldsUnlessTheRouteHasOne(t *testing.T) {
	f := guardtest.Start(t)
	raw, agent := f.Token(t, realm.TokenRequest{User: "ann"}), bounded{f.Fresh(t)}
	if got := serve(guard.Middleware(agent, f.Verify), "/", "Bearer "+raw); got.Status != 503 {
		t.Errorf("the agent's bound: got %+v", got)
	}
	if got := serve(guard.Middleware(agent, f.Verify, guard.MaxStaleness(0)), "/", "Bearer "+raw); got != passed {
		t.Errorf("any staleness: got %+v", got)
	}
}

// closedAgent fails in a way that guards do not know, and does not tell how it stands.
type closedAgent struct{ guard.Agent }

func (closedAgent) Check(*events.Token) error { return subscriber.ErrClosed }

func TestUnknownFailureNeverPasses(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(closedAgent{}, nil, guard.RevocationOnly())
	if diff := cmp.Diff(unavailable("The request cannot be decided now"), serve(h, "/", "Bearer "+f.Token(t, realm.TokenRequest{User: "ann"}))); diff != "" {
		t.Error(diff)
	}
}

func TestHandlerGetsClaimsAndToken(t *testing.T) {
	f := guardtest.Start(t)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	var claims jwt.MapClaims
	var token *events.Token
	h := guard.Middleware(f.Fresh(t), f.Verify, guard.AllowAnonymous())(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		claims, token = guard.Claims(r.Context()), guard.Token(r.Context())
	}))
	r := httptest.NewRequest("GET", "/", nil)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if claims != nil || token != nil {
		t.Errorf("anonymous: got %v, %v", claims, token)
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if claims["sub"] != "ann" || token == nil || token.Identity != guardtest.Parse(t, raw).Identity {
		t.Errorf("got %v, %v", claims, token)
	}
	if guard.Claims(t.Context()) != nil || guard.Token(t.Context()) != nil {
		t.Error("a context that no guard has seen has claims")
	}
}

func TestAnonymousRequestsPassOnlyWithoutAToken(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(f.Unsynced(t), f.Verify, guard.AllowAnonymous())
	if got := serve(h, "/"); got != passed {
		t.Errorf("got %+v", got)
	}
	if got := serve(h, "/", "Basic YTpi"); got != passed {
		t.Errorf("Basic: %+v", got)
	}
	for _, header := range []string{"", "Bearer", "Basic", "Basic a b", "Token YTpi", "Bearer abc"} {
		if got := serve(h, "/", header); got.Status == passed.Status {
			t.Errorf("%q passed", header)
		}
	}
}

func TestChallengeQuotesItsRealm(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(f.Fresh(t), f.Verify, guard.Realm(`a "b" \c`))
	if got, want := serve(h, "/").Challenge, `Bearer realm="a \"b\" \\c"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWrongSetUpDoesNotServe(t *testing.T) {
	verify := func(context.Context, string) (jwt.MapClaims, error) { return nil, nil }
	read := func(context.Context, string) (*guard.Admitted, error) { return nil, nil }
	agent := &subscriber.Agent{}
	for name, c := range map[string]struct {
		agent  guard.Agent
		verify guard.Verify
		opts   []guard.Option
	}{
		"no agent":           {nil, verify, nil},
		"no verify":          {agent, nil, nil},
		"verify and not":     {agent, verify, []guard.Option{guard.RevocationOnly()}},
		"verify and ReadBy":  {agent, verify, []guard.Option{guard.ReadBy(read)}},
		"ReadBy of nothing":  {agent, nil, []guard.Option{guard.ReadBy(nil)}},
		"two ways to read":   {agent, nil, []guard.Option{guard.ReadBy(read), guard.RevocationOnly()}},
		"negative staleness": {agent, verify, []guard.Option{guard.MaxStaleness(-1)}},
		"empty realm":        {agent, verify, []guard.Option{guard.Realm("")}},
		"realm with a break": {agent, verify, []guard.Option{guard.Realm("a\r\nb")}},
		"realm not ASCII":    {agent, verify, []guard.Option{guard.Realm("é")}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := guard.New(c.agent, c.verify, c.opts...); err == nil {
				t.Error("New gave no error")
			}
			defer func() {
				if recover() == nil {
					t.Error("Middleware did not panic")
				}
			}()
			guard.Middleware(c.agent, c.verify, c.opts...)
		})
	}
}

func TestNothingPassesAfterTheFirstRefusal(t *testing.T) {
	f := guardtest.Start(t)
	h := guard.Middleware(f.Fresh(t), f.Verify)
	raw := f.Token(t, realm.TokenRequest{User: "ann"})
	var refused atomic.Bool
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for last := false; !last; {
				last = refused.Load()
				got := serve(h, "/", "Bearer "+raw)
				if last && got == passed {
					t.Error("passed after a refusal")
				}
				if got != passed {
					refused.Store(true)
				}
			}
		})
	}
	f.RevokeUser(t, "ann")
	clients.Wait()
}
