package ledger_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/publisher/ledger"
)

func TestCountersOfEachStreamGoOnAfterAReopen(t *testing.T) {
	dir := t.TempDir()
	var got []uint64
	for range 2 {
		l := open(t, dir)
		for _, s := range []events.Stream{events.Control, events.Tokens, events.Control} {
			update(t, l, func(tx *ledger.Tx) error {
				n, err := tx.Counter(s)
				got = append(got, n)
				return err
			})
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]uint64{1, 1, 2, 3, 2, 4}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestOutboxKeepsItsOrder(t *testing.T) {
	l := open(t, t.TempDir())
	hour := time.Now().Add(time.Hour)
	var want []string
	for i := range 5 {
		raw := fmt.Sprint("message ", i)
		want = append(want, raw)
		update(t, l, func(tx *ledger.Tx) error {
			if i%2 == 1 {
				return tx.PutPost(&ledger.Post{Stream: events.Audit, ID: events.NewEventID(), Raw: []byte(raw)})
			}
			e := entry(hour, raw)
			return errors.Join(tx.PutEvent(e), tx.PutPost(&ledger.Post{Stream: events.Control, ID: e.ID}))
		})
	}
	posts := func(from uint64, limit int) (out []ledger.Post, raws []string) {
		view(t, l, func(tx *ledger.Tx) (err error) {
			out, err = tx.Posts(from, limit, nil)
			return err
		})
		for _, p := range out {
			raws = append(raws, string(p.Raw))
		}
		return out, raws
	}
	all, got := posts(0, 100)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
	if _, got := posts(all[1].Order, 2); !slices.Equal(got, want[1:3]) {
		t.Errorf("from the second, two: %q", got)
	}
	update(t, l, func(tx *ledger.Tx) error { return errors.Join(tx.DropPost(&all[0]), tx.DropPost(&all[1])) })
	if _, got := posts(0, 100); !slices.Equal(got, want[2:]) {
		t.Errorf("after two were dropped: %q", got)
	}
	if !has(t, l, all[0].ID) {
		t.Error("dropping a post took its event away")
	}
}

func TestExpiryGoesByTheLatestStamp(t *testing.T) {
	l := open(t, t.TempDir())
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	gone, restamped, posted := entry(at(10), "gone"), entry(at(10), "restamped"), entry(at(10), "posted")
	request, extended := events.NewEventID(), events.NewEventID()
	update(t, l, func(tx *ledger.Tx) error {
		err := errors.Join(tx.PutEvent(gone), tx.PutEvent(restamped), tx.PutEvent(posted),
			tx.PutPost(&ledger.Post{Stream: events.Control, ID: posted.ID}),
			tx.PutRequest(request, at(10).Unix(), "r"), tx.PutRequest(extended, at(10).Unix(), "x"))
		restamped.Expires = at(60).Unix()
		return errors.Join(err, tx.PutEvent(restamped), tx.PutRequest(extended, at(60).Unix(), "x"))
	})
	requests := func() (got []events.EventID) {
		view(t, l, func(tx *ledger.Tx) error {
			return tx.Requests(events.EventID{}, func(id events.EventID, _ func(any) error) (bool, error) {
				got = append(got, id)
				return true, nil
			})
		})
		return got
	}
	expire := func(s, limit int) (n int) {
		update(t, l, func(tx *ledger.Tx) (err error) {
			n, err = tx.Expire(at(s), limit)
			return err
		})
		return n
	}
	if n := expire(10, 100); n != 0 || !has(t, l, gone.ID) {
		t.Errorf("in its last second: %d went", n)
	}
	if n := expire(11, 2) + expire(11, 100); n != 5 {
		t.Errorf("%d went, want 5, two of them first", n)
	}
	if has(t, l, gone.ID) || !has(t, l, restamped.ID) {
		t.Error("after 11 s: want the event gone and the restamped one there")
	}
	if got := requests(); !slices.Equal(got, []events.EventID{extended}) {
		t.Errorf("requests left: %v, want the one that was stored anew", got)
	}
	view(t, l, func(tx *ledger.Tx) error {
		posts, err := tx.Posts(0, 10, nil)
		if len(posts) != 1 || posts[0].Raw != nil {
			t.Errorf("posts %v, want the expired event's without content", posts)
		}
		return err
	})
	expire(61, 100)
	if has(t, l, restamped.ID) || len(requests()) != 0 {
		t.Error("after 61 s something is left")
	}
}

func TestRequestsComeNewestFirstInPages(t *testing.T) {
	l := open(t, t.TempDir())
	var ids []events.EventID
	for i := range 7 {
		id := events.NewEventID()
		ids = append([]events.EventID{id}, ids...)
		update(t, l, func(tx *ledger.Tx) error { return tx.PutRequest(id, time.Now().Unix()+60, i) })
	}
	page := func(before events.EventID, limit int) (got []events.EventID) {
		view(t, l, func(tx *ledger.Tx) error {
			return tx.Requests(before, func(id events.EventID, decode func(any) error) (bool, error) {
				got = append(got, id)
				return len(got) < limit, decode(new(int))
			})
		})
		return got
	}
	var got []events.EventID
	for before := (events.EventID{}); ; before = got[len(got)-1] {
		p := page(before, 3)
		if len(p) == 0 {
			break
		}
		got = append(got, p...)
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if p := page(events.EventID{1}, 3); len(p) != 0 {
		t.Errorf("before the oldest: %v", p)
	}
	if p := page(events.NewEventID(), 1); !slices.Equal(p, ids[:1]) {
		t.Errorf("before one that is not there: %v", p)
	}
}

func TestCursorIsWhatWasStored(t *testing.T) {
	l := open(t, t.TempDir())
	got := "untouched"
	view(t, l, func(tx *ledger.Tx) error { return tx.Cursor(events.Control, &got) })
	if got != "untouched" {
		t.Errorf("without a cursor: %q", got)
	}
	update(t, l, func(tx *ledger.Tx) error { return tx.SetCursor(events.Control, "here") })
	view(t, l, func(tx *ledger.Tx) error { return tx.Cursor(events.Control, &got) })
	if got != "here" {
		t.Errorf("cursor %q", got)
	}
}
