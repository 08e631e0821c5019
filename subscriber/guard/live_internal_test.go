package guard

import (
	"context"
	"errors"
	"testing"

	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/internal/realm"
	"github.com/rescind/rescind/subscriber"
	"github.com/rescind/rescind/subscriber/internal/guardtest"
)

// More may come than is kept for one who watches. Then all that is open is looked at.
func TestLiveLooksAtAllWhenEventsWereDropped(t *testing.T) {
	f := guardtest.Start(t)
	agent := f.Fresh(t)
	l := NewLive(agent)
	defer l.Close()
	jack := guardtest.Parse(t, f.Token(t, realm.TokenRequest{User: "jack"}))
	ctx, cancel := l.Open(t.Context(), jack)
	defer cancel()
	other, cancelOther := l.Open(t.Context(), guardtest.Parse(t, f.Token(t, realm.TokenRequest{User: "jill"})))
	defer cancelOther()

	full := agent.Watch() // what it cannot hold is dropped, for l too
	defer full.Close()
	l.mu.Lock() // l stands still
	f.RevokeMany(t, 2000)
	f.RevokeUser(t, "jack")
	bustest.Eventually(t, "more has come than can be kept", func() bool { return agent.Check(jack) != nil && full.Dropped() })
	l.mu.Unlock()
	guardtest.Within(t, "the end of jack's", ctx.Done())
	if err := context.Cause(ctx); !errors.Is(err, subscriber.ErrRevoked) {
		t.Errorf("it ends with %v", err)
	}
	if other.Err() != nil || l.Len() != 1 {
		t.Errorf("another's has ended: %v; %d are open", context.Cause(other), l.Len())
	}
}
