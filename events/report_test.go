package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

func TestMessagesOfNamelessAgentsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*events.Agent){
		"no id":              func(a *events.Agent) { a.ID = "" },
		"id with a dot":      func(a *events.Agent) { a.ID = "a.b" },
		"id of a wildcard":   func(a *events.Agent) { a.ID = "*" },
		"id with a newline":  func(a *events.Agent) { a.ID = "a\n" },
		"id too long":        func(a *events.Agent) { a.ID = strings.Repeat("x", 65) },
		"no run":             func(a *events.Agent) { a.Run = "" },
		"run with a blank":   func(a *events.Agent) { a.Run = "a b" },
		"no service":         func(a *events.Agent) { a.Service = "" },
		"service of two":     func(a *events.Agent) { a.Service = "a/b" },
		"service too long":   func(a *events.Agent) { a.Service = strings.Repeat("x", 129) },
		"no instance":        func(a *events.Agent) { a.Instance = "" },
		"instance of two":    func(a *events.Agent) { a.Instance = "a/b" },
		"instance of a mark": func(a *events.Agent) { a.Instance = "<b>" },
		"version too long":   func(a *events.Agent) { a.Version = strings.Repeat("x", 65) },
	} {
		report, status, answer := sampleReport(t), sampleStatus(), sampleAnswer(t)
		for _, a := range []*events.Agent{&report.Agent, &status.Agent, &answer.Agent} {
			spoil(a)
		}
		if _, err := events.Decode[events.Report](encode(t, report)); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("report, %s: got %v, want ErrMalformed", name, err)
		}
		if _, err := events.Decode[events.Status](encode(t, status)); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("status, %s: got %v, want ErrMalformed", name, err)
		}
		if _, err := events.Decode[events.Answer](encode(t, answer)); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("answer, %s: got %v, want ErrMalformed", name, err)
		}
	}
	for _, good := range []events.Agent{sampleAgent(),
		{ID: strings.Repeat("x", 64), Run: strings.Repeat("x", 64), Service: strings.Repeat("s", 128),
			Instance: "host-1.example.com:8080@a_b", Version: strings.Repeat("x", 64)}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	if got, want := sampleAgent().Name(), "payments/web-7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReportsWithoutANumberOrBelowZeroAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*events.Report){
		"no number":            func(r *events.Report) { r.Number = 0 },
		"negative invalidated": func(r *events.Report) { r.Counted[1].InvalidatedCount = -1 },
		"negative previously":  func(r *events.Report) { r.Counted[1].PreviouslyCount = -1 },
	} {
		r := sampleReport(t)
		spoil(r)
		if _, err := events.Decode[events.Report](encode(t, r)); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	a := sampleAnswer(t)
	a.InvalidatedCount = -1
	if _, err := events.Decode[events.Answer](encode(t, a)); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("answer of a negative count: got %v, want ErrMalformed", err)
	}
}

func TestAsksNameARangeOrNothing(t *testing.T) {
	for doc, want := range map[string]bool{
		`{}`: true, `{"from":1,"to":1}`: true, `{"from":2,"to":9}`: true,
		`{"from":9,"to":2}`: false, `{"from":1}`: false, `{"to":1}`: false, `{"from":-1,"to":1}`: false, `{"from":"1","to":1}`: false,
	} {
		if _, err := events.Decode[events.Ask]([]byte(doc)); (err == nil) != want {
			t.Errorf("%s: got %v, want accepted %v", doc, err, want)
		}
	}
}

func TestPlainMessagesAreReadToTheLetter(t *testing.T) {
	for _, doc := range []string{"", "null", "[]", "5", `"x"`, "{", "{}{}", "{} x", "\xff", "{\"from\":1,\"to\":1,\"x\":\"\xff\"}",
		`{"x":"\ud800"}`, `{"from":1,"from":1,"to":1}`, `{"from":1,"to":1,"to":1}`, `{"from":1,"to":1,"x":1,"x":1}`,
		`{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`} {
		if _, err := events.Decode[events.Ask]([]byte(doc)); !errors.Is(err, events.ErrMalformed) {
			t.Errorf("%.60q: got %v, want ErrMalformed", doc, err)
		}
	}
	got, err := events.Decode[events.Ask]([]byte(" {\"From\":7,\"TO\":1,\"zone\":{\"a\":[]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&events.Ask{}, got); diff != "" {
		t.Errorf("names in other case are read (-want +got):\n%s", diff)
	}
}

func TestLongPlainMessagesAreRefused(t *testing.T) {
	for size, want := range map[int]bool{2 << 20: true, 2<<20 + 1: false} {
		doc := append(bytes.Repeat([]byte(" "), size-2), "{}"...)
		if _, err := events.Decode[events.Ask](doc); (err == nil) != want {
			t.Errorf("%d bytes: got %v, want accepted %v", size, err, want)
		}
	}
}

func TestTokenHashesHaveOneFormAndALimit(t *testing.T) {
	full := make(events.TokenHashes, events.MaxReportedTokens)
	for i := range full {
		full[i] = events.TokenHash(i) << 40
	}
	for _, want := range []events.TokenHashes{{}, {0}, {1, 1<<64 - 1}, full} {
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got events.TokenHashes
		if err := got.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	tooMany, err := append(full, 1).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{string(tooMany), "A", "AAAA", "AAAAAAAAAAA=", "AAAAAAAAAAB", "AAAA\nAAAAAAA", "AAAAAAAAAAAA"} {
		got := events.TokenHashes{5}
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%.20q: accepted", bad)
		}
		if diff := cmp.Diff(events.TokenHashes{5}, got); diff != "" {
			t.Errorf("%.20q: refused and read all the same:\n%s", bad, diff)
		}
	}
}

func TestLargestReportFits(t *testing.T) {
	r := sampleReport(t)
	full := make(events.TokenHashes, events.MaxReportedTokens)
	r.Counted[0].Invalidated, r.Counted[0].Previously = full, full
	got, err := events.Decode[events.Report](encode(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error("the largest report reads differently")
	}
}
