package main

import (
	"context"
	"io"
	"testing"
)

// tinyConfig is for measurements that show nothing but that they run.
func tinyConfig(t *testing.T) *Config {
	t.Helper()
	return &Config{Tiny: true, Dir: t.TempDir(), Log: io.Discard}
}

// TestFleetRowsAreWhole: each row has its figures, and something beside it.
func TestFleetRowsAreWhole(t *testing.T) {
	for name, m := range map[string]struct {
		run  func(context.Context, *Config) ([]Row, error)
		want int
	}{
		"propagation": {measurePropagation, 1}, "accept": {measureAccept, 5}, "storm": {measureStorm, 2},
		"singles": {measureSingles, 1}, "catchup": {measureCatchup, 2},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := m.run(t.Context(), tinyConfig(t))
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) != m.want {
				t.Errorf("got %d rows, want %d", len(rows), m.want)
			}
			for i := range rows {
				checkWhole(t, &rows[i])
			}
		})
	}
}

func checkWhole(t *testing.T, r *Row) {
	t.Helper()
	if r.Rescind <= 0 || r.Ratio <= 0 || r.Of == "" || r.Unit == "" || r.Row == "" || r.N <= 0 || r.Limit <= 0 {
		t.Errorf("row lacks a figure: %+v", *r)
	}
	for name, v := range r.Peers {
		if v <= 0 {
			t.Errorf("peer %s of %s: %v", name, r.title(), v)
		}
	}
	for name := range r.Also {
		if _, ok := r.Detail[name]; !ok {
			t.Errorf("%s is bound by %s, which it does not have", r.title(), name)
		}
	}
}
