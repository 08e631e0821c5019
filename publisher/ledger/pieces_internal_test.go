package ledger

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rescind/rescind/events"
)

func listEvent(id events.EventID, size int) *Entry {
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	return &Entry{ID: id, Stream: events.Tokens, Expires: 1_000_000_000, Acked: true, Raw: raw}
}

func (l *Ledger) mustUpdate(t *testing.T, fn func(tx *Tx) error) {
	t.Helper()
	if err := l.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func TestEventsOfAllSizesComeBack(t *testing.T) {
	l := openHere(t)
	ids := make([]events.EventID, 30)
	for i := range ids {
		ids[i] = events.NewEventID()
	}
	// Each id is stored with one size after the other, longer and shorter.
	for round, around := range []int{1, 3 * pieceBytes, pieceBytes, 40 * pieceBytes, 0} {
		l.mustUpdate(t, func(tx *Tx) (err error) {
			for i, id := range ids {
				err = errors.Join(err, tx.PutEvent(listEvent(id, around+i*7)))
			}
			return err
		})
		seen := 0
		err := l.View(func(tx *Tx) error {
			return tx.Events(func(got *Entry) error {
				if diff := cmp.Diff(listEvent(ids[seen], around+seen*7), got); diff != "" {
					t.Errorf("round %d, event %d (-want +got):\n%s", round, seen, diff)
				}
				seen++
				return nil
			})
		})
		if err != nil || seen != len(ids) {
			t.Fatalf("round %d: %d events of %d, %v", round, seen, len(ids), err)
		}
	}
	l.mustUpdate(t, func(tx *Tx) error {
		_, err := tx.Expire(time.Now(), 2*len(ids))
		return err
	})
	l.mustUpdate(t, func(tx *Tx) error {
		if k, _ := tx.tx.Bucket(bucketRaw).Cursor().First(); k != nil {
			t.Errorf("piece %x outlives its event", k)
		}
		return nil
	})
}

func TestMissingPieceIsDamage(t *testing.T) {
	for _, missing := range []int{1, 2, 5} {
		l := openHere(t)
		e := listEvent(events.NewEventID(), 5*pieceBytes)
		l.mustUpdate(t, func(tx *Tx) error { return tx.PutEvent(e) })
		l.mustUpdate(t, func(tx *Tx) error { return tx.tx.Bucket(bucketRaw).Delete(pieceKey(e.ID, missing)) })
		err := l.View(func(tx *Tx) error {
			_, err := tx.Event(e.ID)
			return err
		})
		if !errors.Is(err, errDamaged) {
			t.Errorf("without piece %d: %v, want damage", missing, err)
		}
	}
}

// TestOrderOfAListWritesLittleMoreThanTheList: not those before it again.
func TestOrderOfAListWritesLittleMoreThanTheList(t *testing.T) {
	l := openHere(t)
	const size, lists = 60_000, 50
	written := func() int64 {
		stats := l.db.Stats()
		return stats.TxStats.GetPageAlloc()
	}
	before := written()
	for range lists {
		e := listEvent(events.NewEventID(), size)
		l.mustUpdate(t, func(tx *Tx) error { return tx.PutEvent(e) })
	}
	if each := (written() - before) / lists; each > 2*size {
		t.Errorf("%d bytes written for a list of %d", each, size)
	}
	l.mustUpdate(t, func(tx *Tx) error {
		e := listEvent(events.NewEventID(), size)
		e.Stream = events.Audit
		p := &Post{Stream: events.Audit, ID: e.ID, Raw: e.Raw}
		if err := tx.PutPost(p); err != nil {
			return err
		}
		posts, err := tx.Posts(0, 1, nil)
		if err != nil || len(posts) != 1 || !bytes.Equal(posts[0].Raw, e.Raw) {
			t.Errorf("a long receipt: %d posts, %v", len(posts), err)
		}
		if err := tx.DropPost(p); err != nil {
			return err
		}
		if k, _ := tx.tx.Bucket(bucketAudit).Cursor().First(); k != nil {
			t.Errorf("piece %x outlives its receipt", k)
		}
		return nil
	})
}
