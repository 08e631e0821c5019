package denylist

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// TestAPanicInAReaderIsDamage: readers are goroutines of their own, where a panic
// would end the process of the service that embeds the agent.
func TestAPanicInAReaderIsDamage(t *testing.T) {
	s, err := Open(Options{Path: filepath.Join(t.TempDir(), "denylist.db"), Fleet: events.DefaultFleet, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := range 100 {
		r := Record{ID: events.EventID{byte(n)}, Stream: events.Control, Seq: uint64(n + 1), Expires: time.Now().Unix() + 3600,
			Target: events.Target{Kind: events.KindUser, Claim: "sub", Value: "ann"}}
		s.Stage(Change{Records: []Record{r}})
	}
	if _, err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	_, err = s.store.verify(func(*state) {}, func() reader {
		return reader{func(*Record, account) {
			if seen.Add(1) == 50 {
				panic("not expected")
			}
		}, func() {}}
	}, func(Parked) {})
	var d *damage
	if !errors.As(err, &d) || seen.Load() < 50 {
		t.Errorf("%v behind %d records, want damage", err, seen.Load())
	}
}
