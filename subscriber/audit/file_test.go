package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rescind/rescind/events"
	"github.com/rescind/rescind/internal/bus"
	"github.com/rescind/rescind/internal/bus/bustest"
	"github.com/rescind/rescind/subscriber/audit"
)

// filled gives a closed file of n lines and the bus that they came from.
func filled(t *testing.T, a *author, n int) (path string, b *bus.Bus, all []posted) {
	t.Helper()
	b = bustest.Start(t).Bus(t, fleet)
	all = a.mixed(t, n)
	publishInOrder(t, b, all)
	path = filePath(t)
	r := openReader(t, b, a.keys())
	r.SetBatch(max(n/2, 1))
	f := openFile(t, path)
	if err := r.CatchUp(within(t), f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path, b, all
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// setBack makes the checkpoint that of the file's first n lines, as a crash before
// the next one was written leaves it.
func setBack(t *testing.T, path string, n int) {
	t.Helper()
	f, err := audit.VerifyLines(bytes.NewReader(bytes.Join(readLines(t, path)[:n], nil)), nil, fleet, events.NewKeySet())
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".checkpoint", fmt.Appendf(nil, "{\"lines\":%d,\"seq\":%d,\"hash\":\"%s\"}\n", f.Lines, f.LastSeq, f.Hash))
}

func TestTornLineIsCutOffAndWrittenAgain(t *testing.T) {
	a := newAuthor(t, "p1")
	path, b, all := filled(t, a, 10)
	whole := read(t, path)
	lines := readLines(t, path)
	start := len(bytes.Join(lines[:7], nil))
	for name, torn := range map[string][]byte{
		"half a line":           whole[:start+len(lines[7])/2],
		"all but its line feed": whole[:start+len(lines[7])-1],
		"one byte":              whole[:start+1],
		"nothing of it":         whole[:start],
		"zeros":                 append(bytes.Clone(whole[:start]), make([]byte, 4096)...),
		"a lost page before it": append(append(bytes.Clone(whole[:start]), make([]byte, 512)...), whole[start+512:]...),
		"too long":              append(bytes.Clone(whole[:start]), bytes.Repeat([]byte("x"), 3<<20)...),
		"everything":            whole,
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			path := filePath(t)
			write(t, path, torn)
			copyCheckpoint(t, whole, path)
			f := openFile(t, path)
			if err := openReader(t, b, a.keys()).CatchUp(within(t), f); err != nil {
				t.Fatal(err)
			}
			exactly(t, path, a.keys(), all)
			if got := read(t, path); !bytes.Equal(got, whole) {
				t.Errorf("the file is not what it was")
			}
		})
	}
}

// copyCheckpoint gives path the checkpoint of the first 5 lines of whole.
func copyCheckpoint(t *testing.T, whole []byte, path string) {
	t.Helper()
	other := filePath(t)
	write(t, other, whole)
	setBack(t, other, 5)
	write(t, path+".checkpoint", read(t, other+".checkpoint"))
}

func TestDamagedFileIsNotAppendedTo(t *testing.T) {
	a := newAuthor(t, "p1")
	path, _, _ := filled(t, a, 10)
	whole, lines, cp := read(t, path), readLines(t, path), read(t, path+".checkpoint")
	altered := bytes.Clone(whole)
	digit := bytes.Index(altered[len(lines[0]):], []byte(`"seq":`)) + len(lines[0]) + 8
	altered[digit] = '0' + (altered[digit]-'0'+1)%10
	last := bytes.Clone(whole)
	last[bytes.LastIndex(last, []byte(`"time":"`))+8] = '3'
	for name, c := range map[string]struct {
		file, checkpoint []byte
		want             string
	}{
		"a line altered":           {altered, cp, "line 3: it does not follow the line before"},
		"the last line altered":    {last, cp, "line 10: "},
		"a line removed":           {bytes.Join([][]byte{lines[0], whole[len(lines[0])+len(lines[1]):]}, nil), cp, "line 2: "},
		"the last line removed":    {bytes.Join(lines[:9], nil), cp, "it has 9 lines, its checkpoint says 10"},
		"the last line cut":        {whole[:len(whole)-1], cp, "line 10: "},
		"everything removed":       {nil, cp, "it has 0 lines, its checkpoint says 10"},
		"no checkpoint":            {whole, nil, "checkpoint is missing"},
		"an empty checkpoint":      {whole, []byte{}, "is not one"},
		"a spoilt checkpoint":      {whole, bytes.ToUpper(cp), "is not one"},
		"a checkpoint with a tail": {whole, append(bytes.Clone(cp), ' '), "is not one"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			path := filePath(t)
			write(t, path, c.file)
			if c.checkpoint != nil {
				write(t, path+".checkpoint", c.checkpoint)
			}
			f, err := audit.OpenFile(path)
			if !errors.Is(err, audit.ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrDamaged with %q", err, c.want)
			}
			if f != nil {
				f.Close()
			}
			if got := read(t, path); !bytes.Equal(got, c.file) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestFileHasOneWriter(t *testing.T) {
	path := filePath(t)
	f := openFile(t, path)
	if _, err := audit.OpenFile(path); !errors.Is(err, audit.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	openFile(t, path)
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	path := filePath(t)
	openFile(t, path)
	for _, p := range []string{path, path + ".checkpoint"} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
}

func TestFailedWriteEndsRunAndAcknowledgesNothing(t *testing.T) {
	s := bustest.Start(t)
	b := s.Bus(t, fleet)
	a := newAuthor(t, "p1")
	all := a.mixed(t, 3)
	publish(t, b, all...)
	arrived(t, b, 3)
	path := filePath(t)
	r := openReader(t, b, a.keys())
	f := openFile(t, path)
	// The checkpoint cannot be replaced: a directory has its next name.
	if err := os.Mkdir(path+".checkpoint.new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(within(t), f); err == nil || !strings.Contains(err.Error(), "checkpoint") {
		t.Fatalf("got %v", err)
	}
	if err := r.CatchUp(within(t), f); err == nil {
		t.Error("the file is used again after a failed write")
	}
	c, err := b.AuditConsumer(t.Context(), audit.DefaultDurable)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Pending(t.Context()); err != nil || n != 3 {
		t.Errorf("pending: got %d, %v, want 3", n, err)
	}
	f.Close()
	if err := os.Remove(path + ".checkpoint.new"); err != nil {
		t.Fatal(err)
	}
	stop := running(t, r, path)
	waitLines(t, path, 3)
	stop()
	if err := r.CatchUp(within(t), openFile(t, path)); err != nil {
		t.Fatal(err)
	}
	exactly(t, path, a.keys(), all)
}

func TestRunOnAClosedFileFails(t *testing.T) {
	b := bustest.Start(t).Bus(t, fleet)
	a := newAuthor(t, "p1")
	publish(t, b, a.user(t, "a"))
	arrived(t, b, 1)
	f := openFile(t, filePath(t))
	f.Close()
	if err := openReader(t, b, a.keys()).Run(within(t), f); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestFileInNoDirectoryFails(t *testing.T) {
	if _, err := audit.OpenFile(filePath(t) + "/x"); err == nil {
		t.Error("no error")
	}
}
