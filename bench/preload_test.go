package main

import (
	"errors"
	"testing"
	"time"

	"github.com/rescind/rescind/events"
)

// TestAReaderThatLacksATokenIsNoMeasurement: what was timed must have been whole.
func TestAReaderThatLacksATokenIsNoMeasurement(t *testing.T) {
	s, err := openSite(t.Context(), tinyConfig(t), syncLater)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ids := freshIdentities(perList)
	k, err := s.fill(t.Context(), "lacks", events.Tokens, listEvents("lacks", ids[1:]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.read(t.Context(), "", &events.Token{Identity: ids[1]}); err != nil {
		t.Errorf("reading what is there: %v", err)
	}
	if _, err := k.read(t.Context(), "", &events.Token{Identity: ids[0]}); err == nil {
		t.Error("a token that no event lists passed for refused")
	}
}

func TestRepeatsEndWithTheirTime(t *testing.T) {
	for _, tc := range []struct {
		name string
		r    repeats
		want int
	}{
		{"often", repeats{3, time.Hour}, 3},
		{"once, when the time is used up", repeats{3, 0}, 1},
	} {
		got := 0
		if err := tc.r.do(func() error { got++; return nil }); err != nil || got != tc.want {
			t.Errorf("%s: %d times, want %d (err %v)", tc.name, got, tc.want, err)
		}
	}
	failed := errors.New("failed")
	if err := (repeats{3, time.Hour}).do(func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
}
