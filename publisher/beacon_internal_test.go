package publisher

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestBeaconsComeEachSecondAndSoonAfterAHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := &Publisher{hellos: make(chan struct{}, 1)}
		pace, begun := newPace(p.hellos), time.Now()
		defer pace.tick.Stop()
		due := func(what string, want time.Duration) {
			t.Helper()
			if !pace.wait(ctx) || time.Since(begun) != want {
				t.Errorf("%s: due after %v, want %v", what, time.Since(begun), want)
			}
		}
		due("nobody says hello", time.Second)
		time.Sleep(200 * time.Millisecond)
		p.saidHello()
		due("hello", 1200*time.Millisecond)
		for range 1000 {
			p.saidHello()
		}
		due("a thousand hellos at once", 1300*time.Millisecond)
		due("all of them were answered by one", 2*time.Second)
		p.saidHello()
		time.AfterFunc(50*time.Millisecond, cancel)
		if pace.wait(ctx) {
			t.Error("due after the end")
		}
	})
}
