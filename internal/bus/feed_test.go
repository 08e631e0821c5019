package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
)

var feedOptions = bus.FeedOptions{AckWait: time.Second, MaxPending: 100}

// fetchFeed fetches n messages and gives their texts.
func fetchFeed(t *testing.T, f *bus.Feed, n int) (msgs []*bus.FeedMessage) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(msgs) < n {
		more, err := f.Fetch(ctx, n-len(msgs))
		if err != nil {
			t.Fatalf("%d of %d messages: %v", len(msgs), n, err)
		}
		msgs = append(msgs, more...)
	}
	return msgs
}

// TestFeedHasWhatComesAfterIt: events of both streams from the feed's beginning on,
// what is for it alone, and nothing of before or of another feed.
func TestFeedHasWhatComesAfterIt(t *testing.T) {
	srv := bustest.Start(t)
	b := srv.Bus(t, events.DefaultFleet)
	publish := func(s events.Stream, text string) {
		t.Helper()
		if _, err := b.Publish(t.Context(), s, "", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	publish(events.Control, "before all feeds")
	if all, err := b.Feeds(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("feeds before there are any: %v, %v", all, err)
	}
	if _, err := b.Feed(t.Context(), "a"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("%v", err)
	}
	for range 2 { // again changes nothing
		if err := b.ApplyFeeds(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	patient := bus.FeedOptions{AckWait: time.Minute, MaxPending: 100}
	first, err := b.CreateFeed(t.Context(), "first", "meta of the first", patient)
	if err != nil {
		t.Fatal(err)
	}
	publish(events.Control, "1")
	publish(events.Tokens, "2")
	got := map[string]bool{}
	for _, m := range fetchFeed(t, first, 2) {
		got[string(m.Data)] = true
		if m.Own {
			t.Errorf("%s is taken for the feed's own", m.Data)
		}
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if !got["1"] || !got["2"] {
		t.Errorf("the first feed has %v", got)
	}
	second, err := b.CreateFeed(t.Context(), "second", "meta of the second", patient)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PublishFeed(t.Context(), "second", []byte("for the second")); err != nil {
		t.Fatal(err)
	}
	publish(events.Control, "3")
	for _, m := range fetchFeed(t, second, 2) {
		if m.Own != (string(m.Data) == "for the second") || !m.Own && string(m.Data) != "3" {
			t.Errorf("the second feed has %s, own %v", m.Data, m.Own)
		}
	}
	if m := fetchFeed(t, first, 1)[0]; string(m.Data) != "3" {
		t.Errorf("the first feed has %s", m.Data)
	}
	all, err := b.Feeds(t.Context())
	if err != nil || len(all) != 2 || all["first"].Meta != "meta of the first" || all["second"].Meta != "meta of the second" ||
		!all["second"].Created.After(all["first"].Created) {
		t.Errorf("%v, %v", all, err)
	}
}

func TestFeedKeepsItsPlace(t *testing.T) {
	srv := bustest.Start(t)
	b := srv.Bus(t, events.DefaultFleet)
	if err := b.ApplyFeeds(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := b.CreateFeed(t.Context(), "a", "old", feedOptions)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := b.Publish(t.Context(), events.Control, "", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	msgs := fetchFeed(t, f, 3)
	if err := msgs[0].Ack(); err != nil {
		t.Fatal(err)
	}
	if err := msgs[1].Nak(); err != nil { // comes at once; the third after AckWait
		t.Fatal(err)
	}
	if m := fetchFeed(t, f, 1)[0]; string(m.Data) != "1" {
		t.Errorf("%s", m.Data)
	} else if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	if err := msgs[2].Working(); err != nil {
		t.Fatal(err)
	}
	if err := f.Update(t.Context(), "new", bus.FeedOptions{AckWait: time.Second, MaxPending: 1}); err != nil {
		t.Fatal(err)
	}
	srv.Stop(t)
	srv.Start(t)
	bustest.Eventually(t, "the feed is there again", func() bool {
		f, err = b.Feed(t.Context(), "a")
		return err == nil
	})
	if f.Meta() != "new" || f.ID() != "a" {
		t.Errorf("feed %s has %q", f.ID(), f.Meta())
	}
	if m := fetchFeed(t, f, 1)[0]; string(m.Data) != "2" {
		t.Errorf("%s", m.Data)
	}
	if err := b.DeleteFeed(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteFeed(t.Context(), "a"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if msgs, err := f.Fetch(ctx, 1); err == nil {
		t.Errorf("a deleted feed gives %d messages", len(msgs))
	}
}
