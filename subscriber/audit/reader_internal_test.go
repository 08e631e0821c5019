package audit

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/rescind/rescind/internal/bus"
)

func TestReaderThatHasTakenNothingGoesBackWithTheStream(t *testing.T) {
	cur := newCursor()
	cur.pos = 900
	if err := new(Reader).settle(t.Context(), &cur, bus.Info{First: 1, Last: 100, Msgs: 100}); err != nil || cur.pos != 100 {
		t.Errorf("got %d, %v, want 100", cur.pos, err)
	}
}

func TestLineReaderKeepsBoundedMemory(t *testing.T) {
	r := newLineReader(io.MultiReader(strings.NewReader("a\n"), bytes.NewReader(bytes.Repeat([]byte("x"), 3*maxLine)),
		strings.NewReader("\nb\nc")))
	for i, want := range []string{"a\n", "", "b\n", "c"} {
		got, err := r.next()
		if i == 1 {
			if err != nil || len(got) == 0 || len(got) > maxLine || bytes.HasSuffix(got, []byte("\n")) {
				t.Errorf("long line: got %d bytes, %v", len(got), err)
			}
			continue
		}
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, err := r.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestHashReadsItsOwnFormOnly(t *testing.T) {
	want := Hash{1, 2, 3}
	var got Hash
	if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", want.String()[:62], want.String()[:63], want.String() + "00", want.String()[:63] + "g"} {
		if got.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
