package denylist_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	bolt "go.etcd.io/bbolt"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/denylist"
)

// The file that the matrix damages: lists commits of one list each.
const (
	lists    = 60
	listSize = 20
)

// writeSample makes a closed file and gives its identity.
func writeSample(t testing.TB, path string) string {
	t.Helper()
	s := mustOpen(t, options(path))
	for n := range lists {
		r := list(n, n*listSize, listSize)
		r.Expires = int64(1+n/10) * 3600
		s.Stage(denylist.Change{Records: []denylist.Record{r}, Cursors: map[events.Stream]denylist.Cursor{
			events.Tokens: {Epoch: "e", Seq: uint64(n + 1)}}})
		if n%5 == 0 || n == lists-1 {
			mustCommit(t, s)
		}
	}
	mustClose(t, s)
	return s.Identity()
}

// verdict opens a damaged file and tells what came of it. Whatever Open says is
// right must be right: each list up to the position is there as a whole.
func verdict(path string) (string, error) {
	s, err := denylist.Open(options(path))
	if err != nil {
		return "", err
	}
	defer s.Close()
	if s.Recovered() != "" {
		if s.Len() != 0 || len(s.Cursors()) != 0 || s.Synced() {
			return "", errors.New("a rebuilt set is not empty")
		}
		return "recovered", nil
	}
	seq := int(s.Cursors()[events.Tokens].Seq)
	for n := range seq * listSize {
		if !s.Check(opaque(n)) {
			return "", fmt.Errorf("position is %d, but identity %d is missing", seq, n)
		}
	}
	if s.Len() != seq*listSize {
		return "", fmt.Errorf("position is %d, but there are %d entries", seq, s.Len())
	}
	return fmt.Sprint("position ", seq), nil
}

func TestDamageIsFoundOrHarmless(t *testing.T) {
	page := os.Getpagesize()
	zero := func(b []byte, p int) []byte { clear(b[p*page : (p+1)*page]); return b }
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	for name, tc := range map[string]struct {
		damage func([]byte) []byte
		want   string // "" for either
	}{
		"0 bytes":     {cut(0), "recovered"},
		"1 byte":      {cut(1), "recovered"},
		"100 bytes":   {cut(100), "recovered"},
		"4096 bytes":  {cut(4096), "recovered"},
		"8192 bytes":  {cut(8192), "recovered"},
		"16384 bytes": {cut(16384), "recovered"},
		"a quarter":   {func(b []byte) []byte { return b[:len(b)/4] }, "recovered"},
		"a half":      {func(b []byte) []byte { return b[:len(b)/2] }, "recovered"},
		"one meta":    {func(b []byte) []byte { return zero(b, 0) }, ""},
		"other meta":  {func(b []byte) []byte { return zero(b, 1) }, ""},
		"both metas":  {func(b []byte) []byte { return zero(zero(b, 0), 1) }, "recovered"},
		"text":        {func([]byte) []byte { return bytes.Repeat([]byte("no database\n"), 1000) }, "recovered"},
		"nothing":     {func(b []byte) []byte { return b }, fmt.Sprint("position ", lists)},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			writeSample(t, path)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, tc.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := verdict(path)
			if err != nil || tc.want != "" && got != tc.want {
				t.Fatalf("%q, %v, want %q", got, err, tc.want)
			}
			if again, err := verdict(path); err != nil || got == "recovered" && again != "position 0" {
				t.Errorf("opened again: %q, %v", again, err)
			}
		})
	}
}

// matrixEnv tells the test binary to be the child of
// TestNoDamageOfPagesIsSilent: a fault that cannot be recovered from must fail the
// case, not the test.
const matrixEnv = "DENYLIST_DAMAGE_MATRIX"

func TestMain(m *testing.M) {
	if spec := os.Getenv(matrixEnv); spec != "" {
		os.Exit(runMatrix(spec))
	}
	os.Exit(m.Run())
}

// runMatrix flips bits, zeroes pages, or closes circles of pages, in copies of a file, one copy a case,
// and prints what came of each.
func runMatrix(spec string) int {
	var sample, what string
	var seed uint64
	if _, err := fmt.Sscan(spec, &sample, &what, &seed); err != nil {
		fmt.Println(err)
		return 2
	}
	whole, err := os.ReadFile(sample)
	if err != nil {
		fmt.Println(err)
		return 2
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	page := os.Getpagesize()
	cases := 200
	if what != "bits" {
		cases = len(whole) / page
	}
	for n := range cases {
		b := bytes.Clone(whole)
		at := n
		switch what {
		case "pages":
			clear(b[n*page : (n+1)*page])
		case "circles":
			if b[n*page+8] != 1 {
				continue
			}
			// A branch page becomes its own first child.
			binary.NativeEndian.PutUint64(b[n*page+24:], uint64(n))
		default:
			at = rnd.IntN(8 * len(b))
			b[at/8] ^= 1 << (at % 8)
		}
		path := sample + ".case"
		if err := os.WriteFile(path, b, 0o600); err != nil {
			fmt.Println(err)
			return 2
		}
		got, err := verdict(path)
		if err != nil {
			fmt.Printf("case %d at %d: %v\n", n, at, err)
			return 1
		}
		fmt.Println(got)
	}
	return 0
}

func TestNoDamageOfPagesIsSilent(t *testing.T) {
	for _, what := range []string{"bits", "pages", "circles"} {
		sample := filepath.Join(t.TempDir(), "denylist.db")
		writeSample(t, sample)
		seed := uint64(time.Now().UnixNano())
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", matrixEnv, sample, what, seed))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, tail(string(out)))
		}
		t.Logf("%s: %d of %d found, the others harmless", what, strings.Count(string(out), "recovered"), strings.Count(string(out), "\n"))
	}
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// edit changes a closed file by hand.
func edit(t *testing.T, path string, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// What bbolt finds nothing wrong with may still not be what was written.
func TestIntactFilesWithTheWrongContentAreFound(t *testing.T) {
	firstHour := func(tx *bolt.Tx) *bolt.Bucket {
		name, _ := tx.Bucket([]byte("events")).Cursor().First()
		return tx.Bucket([]byte("events")).Bucket(name)
	}
	for name, tc := range map[string]struct {
		change func(*bolt.Tx) error
		want   string
	}{
		"record gone": {func(tx *bolt.Tx) error {
			key, _ := firstHour(tx).Cursor().First()
			return firstHour(tx).Delete(key)
		}, "does not hold"},
		"hour gone": {func(tx *bolt.Tx) error {
			name, _ := tx.Bucket([]byte("events")).Cursor().First()
			return tx.Bucket([]byte("events")).DeleteBucket(name)
		}, "does not hold"},
		"record under another key": {func(tx *bolt.Tx) error {
			key, value := firstHour(tx).Cursor().First()
			key, value = bytes.Clone(key), bytes.Clone(value)
			key[0]++
			return firstHour(tx).Put(key, value)
		}, "checksum"},
		"state gone":    {func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("state")) }, "no state"},
		"meta gone":     {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("meta")) }, "no state"},
		"events gone":   {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("events")) }, "missing"},
		"parked gone":   {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("parked")) }, "missing"},
		"observed gone": {func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("observed")) }, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			id := writeSample(t, path)
			edit(t, path, tc.change)
			s := mustOpen(t, options(path))
			defer mustClose(t, s)
			if !strings.Contains(s.Recovered(), tc.want) || s.Len() != 0 {
				t.Errorf("recovered %q with %d entries, want %q and none", s.Recovered(), s.Len(), tc.want)
			}
			if tc.want != "no state" && s.Identity() != id {
				t.Error("the identity was legible and was not kept")
			}
		})
	}
}

// How many identities there are is a hint: whatever it says, the set is right.
func TestAWrongNumberOfIdentitiesCostsNothing(t *testing.T) {
	for _, n := range []uint64{0, 1, lists * listSize * 100, 1 << 62} {
		path := newPath(t)
		writeSample(t, path)
		edit(t, path, func(tx *bolt.Tx) error {
			meta := tx.Bucket([]byte("meta"))
			state, err := denylist.WithIdentities(meta.Get([]byte("state")), n)
			return errors.Join(err, meta.Put([]byte("state"), state))
		})
		if got, err := verdict(path); err != nil || got != fmt.Sprint("position ", lists) {
			t.Errorf("%d: %q, %v", n, got, err)
		}
	}
}

func TestAFileOfAnotherFleetIsPutAside(t *testing.T) {
	path := newPath(t)
	id := writeSample(t, path)
	o := options(path)
	o.Fleet = "other"
	s := mustOpen(t, o)
	defer mustClose(t, s)
	if !strings.Contains(s.Recovered(), "fleet") || s.Len() != 0 || s.Identity() == id {
		t.Errorf("recovered %q, %d entries, same identity %v", s.Recovered(), s.Len(), s.Identity() == id)
	}
}

func TestTheTwoLatestDamagedFilesAreKept(t *testing.T) {
	path := newPath(t)
	mustClose(t, mustOpen(t, options(path)))
	for n := range 4 {
		if err := os.WriteFile(path, fmt.Append(nil, "damaged ", n), 0o600); err != nil {
			t.Fatal(err)
		}
		mustClose(t, mustOpen(t, options(path)))
	}
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range aside {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if diff := cmp.Diff([]string{"damaged 2", "damaged 3"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFileInUseIsLocked(t *testing.T) {
	path := newPath(t)
	s := mustOpen(t, options(path))
	defer mustClose(t, s)
	start := time.Now()
	_, err := denylist.Open(options(path))
	if !errors.Is(err, denylist.ErrLocked) || time.Since(start) > 5*time.Second {
		t.Errorf("Open gave %v after %v, want ErrLocked", err, time.Since(start))
	}
}

func TestAPlaceThatCannotBeWrittenIsAnErrorNotDamage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"a directory":                     dir,
		"below a file":                    filepath.Join(dir, "file", "denylist.db"),
		"a file system that is read-only": "/proc/denylist/denylist.db",
	} {
		if s, err := denylist.Open(options(path)); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Open gave %v, %v; want an error that names it", name, s, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*damaged*")); len(left) > 0 {
		t.Errorf("files were put aside: %v", left)
	}
}
