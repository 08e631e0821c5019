package sidecar

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func FuzzObservationIsReadWholeOrRefused(f *testing.F) {
	for _, s := range []string{"", "null", "{}", "[]", "[null]", `{"token":"a"}`, `[{"token":"a"}]`, `{"token":"a"}{}`,
		`{"refresh_token":"a","realm":"b","user":"c","expires_at":1}`, `{"expires_at":1e400}`, "[[]]", "\ufeff{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/observe", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		items, array, p := readObserved(httptest.NewRecorder(), r)
		switch {
		case p != nil && p.Status != 400 && p.Status != 413:
			t.Errorf("refused with %d", p.Status)
		case p == nil && !array && len(items) != 1:
			t.Errorf("one object gave %d", len(items))
		case p == nil && len(items) > maxObserved:
			t.Errorf("%d taken", len(items))
		}
	})
}
