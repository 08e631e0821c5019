package subscriber

import (
	"sync"
	"testing"

	"github.com/rescind/rescind/events"
)

func TestWatchThatDoesNotKeepUpIsToldOnce(t *testing.T) {
	var w watchers
	slow, quick := w.add(), w.add()
	for i := range watchBuffer + 3 {
		w.send(&events.Revocation{IssuedAt: int64(i)})
		if got := (<-quick.C).IssuedAt; got != int64(i) {
			t.Fatalf("event %d came as %d", i, got)
		}
	}
	if !slow.Dropped() || slow.Dropped() || quick.Dropped() {
		t.Error("want the slow watch to be told once, and the quick one never")
	}
	if got := len(slow.C); got != watchBuffer {
		t.Errorf("%d events wait, want %d", got, watchBuffer)
	}
}

func TestWatchIsClosedByEither(t *testing.T) {
	var w watchers
	mine, theirs := w.add(), w.add()
	w.send(&events.Revocation{})
	mine.Close()
	mine.Close()
	w.send(&events.Revocation{})
	w.close()
	theirs.Close()
	for name, tc := range map[string]struct {
		c    <-chan *events.Revocation
		want int
	}{"closed by its owner": {mine.C, 1}, "closed by the agent": {theirs.C, 2}, "added to a closed agent": {w.add().C, 0}} {
		n := 0
		for range tc.c {
			n++
		}
		if n != tc.want {
			t.Errorf("%s: %d events, want %d", name, n, tc.want)
		}
	}
}

func TestWatchesComeAndGoWhileEventsAreSent(t *testing.T) {
	var w watchers
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 200 {
				watch := w.add()
				w.send(&events.Revocation{})
				<-watch.C
				watch.Close()
			}
		})
	}
	work.Wait()
	w.close()
	if len(w.all) != 0 {
		t.Errorf("%d watches are left", len(w.all))
	}
}
