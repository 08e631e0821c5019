package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestOneTinyRow runs a measurement from its flags to its rows: sets are filled,
// children start and answer right, the files are gone afterwards.
func TestOneTinyRow(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out, log bytes.Buffer
	// Whether a figure of a busy machine is short says nothing here.
	_ = run(t.Context(), []string{"--tiny", "--json", "--rows", "start"}, &out, &log)
	var r Row
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v\nout: %s\nlog: %s", err, out.String(), log.String())
	}
	if r.Row != "start" || r.N != 10_000 || r.Rescind <= 0 || r.Limit <= 0 || r.Ratio <= 0 || r.Must != AtMost {
		t.Errorf("row is %+v", r)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) != 0 {
		t.Errorf("%v were left", left)
	}
}

// TestAWrongVerdictFailsTheContest: a way that is fast because it is wrong must not
// win.
func TestAWrongVerdictFailsTheContest(t *testing.T) {
	tokens, err := misses(2*blockSize, 10)
	if err != nil {
		t.Fatal(err)
	}
	wrong := judge("wrong", func(q *query) bool { return q == &tokens[1] })
	c := contest{contestants: []contestant{wrong}, tokens: tokens, rounds: 1}
	if _, err := c.run(t.Context()); err == nil {
		t.Error("it refuses a token that is not revoked, and nobody notices")
	}
	c.contestants[0] = judge("right", func(*query) bool { return false })
	if _, err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTheStockHitsWhatItShould: all contestants that answer in this process agree
// on what is revoked.
func TestTheStockHitsWhatItShould(t *testing.T) {
	c := &Config{Tiny: true, Dir: t.TempDir(), Log: os.Stderr}
	s := stock{identities: 2500, users: 300, perEvent: perEvent}
	dir, err := c.stocked(s)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := openAgent(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	db, err := boltDB(boltPath(c.Dir, s), s)
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	live, err := misses(1024, s.users)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := hits(1024, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []contestant{agent.contestant(), mapRWMutex(s), syncMap(s), bloomFilter(s), db} {
		work := who.worker()
		if n := work(live); n != 0 {
			t.Errorf("%s refuses %d of the tokens that are live", who.name, n)
		}
		if n := work(revoked); n != len(revoked) {
			t.Errorf("%s refuses %d of %d revoked tokens", who.name, n, len(revoked))
		}
	}
	if n := allocations(&contestant{worker: agent.contestant().worker}, live); n != 0 {
		t.Errorf("Check allocates %v times", n)
	}
}
