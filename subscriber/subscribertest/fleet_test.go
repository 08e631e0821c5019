package subscribertest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/subscribertest"
)

const issuer = "https://idp.example.com"

// token is one that a service's own tests make.
func token(t *testing.T, claims jwt.MapClaims) (string, *events.Token) {
	t.Helper()
	all := jwt.MapClaims{"iss": issuer, "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte("a key of the test"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := events.ParseToken(raw)
	if err != nil {
		t.Fatal(err)
	}
	return raw, tok
}

// Each revocation is in force at every agent when the call returns, and hits nothing
// else.
func TestRevocationsAreInForceAtOnce(t *testing.T) {
	fleet := subscribertest.New(t, issuer, "https://other.example.com")
	agents := []*subscriber.Agent{fleet.Agent(t), fleet.Agent(t, func(c *subscriber.Config) { c.Dir = t.TempDir() })}
	check := func(name string, tok *events.Token, revoked bool) {
		t.Helper()
		for i, a := range agents {
			if err := a.Check(tok); errors.Is(err, subscriber.ErrRevoked) != revoked {
				t.Errorf("%s: agent %d says %v", name, i, err)
			}
		}
	}
	raw, one := token(t, jwt.MapClaims{"jti": "1", "sub": "jill"})
	_, two := token(t, jwt.MapClaims{"jti": "2", "sub": "jill", "sid": "s"})
	_, jack := token(t, jwt.MapClaims{"jti": "3", "sub": "jack", "iss": "https://other.example.com"})
	_, foreign := token(t, jwt.MapClaims{"jti": "3", "sub": "jack", "iss": "https://foreign.example.com"})
	check("before", one, false)
	fleet.RevokeToken(t, raw)
	check("the token", one, true)
	check("another", two, false)
	fleet.RevokeSession(t, "s")
	check("the session's", two, true)
	check("another's", jack, false)
	fleet.RevokeUser(t, "jack")
	check("the user's", jack, true)
	check("a foreign issuer's", foreign, false)
	fleet.RevokeAll(t)
	check("a foreign issuer's", foreign, true)
}

func TestAgentsGrowStaleWithoutABus(t *testing.T) {
	fleet := subscribertest.New(t, issuer)
	agent := fleet.Agent(t, func(c *subscriber.Config) { c.MaxStaleness = time.Second })
	_, tok := token(t, jwt.MapClaims{"sub": "jack"})
	if err := agent.Check(tok); err != nil {
		t.Fatal(err)
	}
	fleet.StopNATS(t)
	bustest.Eventually(t, "the agent is stale", func() bool { return errors.Is(agent.Check(tok), subscriber.ErrStale) })
}
