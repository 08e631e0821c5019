package intake

import (
	"encoding/json"
	"testing"

	"github.com/rescind/rescind/events"
)

// FuzzLine: a line that is taken is one JSON object that names a token in one way,
// with what encoding/json reads in it.
func FuzzLine(f *testing.F) {
	for _, line := range []string{`{"token":"a.b.c"}`, `{"iss":"https://a","jti":"b","exp":1800000000}`, `{"iss":"a","jti":"b"}`,
		`{}`, `{"token":""}`, `{"token":"a","jti":"b"}`, `[1]`, `{"token":"\ud800"}`, "{\"token\":\"\xff\"}", `{"Token":"a"}`, `{"token":"a","token":"b"}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		raw, id, err := parseLine(line)
		if err != nil {
			return
		}
		var want struct {
			Token, Iss, Jti string
			Exp             int64
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q is taken: %v", line, err)
		}
		named := id.issuer != "" && id.jti != ""
		if (raw != "") == named || raw != want.Token || id.issuer != want.Iss || id.jti != want.Jti || id.expires != want.Exp {
			t.Errorf("%q is read as %q and %+v, not %+v", line, raw, id, want)
		}
		if len(raw) > events.MaxTokenBytes {
			t.Errorf("a token of %d bytes", len(raw))
		}
	})
}
