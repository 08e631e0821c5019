package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Row is one measurement beside its limit and its peers. All figures of a row
// are in its unit and come from the same run.
type Row struct {
	Row string `json:"row"`
	// Case tells rows of one name apart beside N: "1 core", "64 callers".
	Case string `json:"case,omitempty"`
	// N is the size that was measured: entries, agents, callers.
	N       int     `json:"n"`
	Rescind float64 `json:"rescind"`
	Unit    string  `json:"unit"`
	// Limit is what the machine can do, measured by the means that LimitName names.
	Limit     float64 `json:"limit,omitempty"`
	LimitName string  `json:"limit_name,omitempty"`
	// Peers are what a user would pick instead, by name.
	Peers map[string]float64 `json:"peers,omitempty"`
	// Inexact names the peers that answer another question, such as a filter with
	// false positives: they are shown, and beating them is not asked.
	Inexact []string `json:"inexact,omitempty"`
	// MustBeat asks that rescind be better than every exact peer.
	MustBeat bool `json:"must_beat,omitempty"`
	// Ratio is compared with Target by Must; Of says of what it is the ratio.
	Ratio  float64 `json:"ratio"`
	Of     string  `json:"of"`
	Must   Must    `json:"must,omitempty"`
	Target float64 `json:"target,omitempty"`
	// Also are further conditions on Detail, by its names.
	Also map[string]Bound `json:"also,omitempty"`
	// Pass is true for a row that nothing is asked of.
	Pass bool `json:"pass"`
	// Detail has what belongs to the row beside its figure: p99, allocations.
	Detail map[string]float64 `json:"detail,omitempty"`
}

// readRows reads what --json has written.
func readRows(path string) (rows []Row, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for in := json.NewDecoder(f); ; {
		var r Row
		err := in.Decode(&r)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s, behind %d rows: %w", path, len(rows), err)
		}
		rows = append(rows, r)
	}
}

// Must says how a ratio is compared with its target.
type Must string

// The comparisons. Unbound rows show growth; nothing is asked of them.
const (
	AtMost  Must = "<="
	AtLeast Must = ">="
	Unbound Must = ""
)

// holds compares got with the target. What could not be measured holds nothing.
func (m Must) holds(got, target float64) bool {
	switch m {
	case AtMost:
		return got <= target
	case AtLeast:
		return got >= target
	default:
		return true
	}
}

// Bound is a condition beside the row's own.
type Bound struct {
	Must   Must    `json:"must"`
	Target float64 `json:"target"`
}

// Judge sets Pass.
func (r *Row) Judge() { r.Pass = len(r.Misses()) == 0 }

// Misses says what the row misses, one phrase for each.
func (r *Row) Misses() []string {
	var out []string
	if !r.Must.holds(r.Ratio, r.Target) {
		out = append(out, fmt.Sprintf("%s of %s, must be %s %s", figure(r.Ratio), r.Of, r.Must, figure(r.Target)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Also)) {
		b := r.Also[name]
		got, ok := r.Detail[name]
		if !ok || !b.Must.holds(got, b.Target) {
			out = append(out, fmt.Sprintf("%s is %s, must be %s %s", name, figure(got), b.Must, figure(b.Target)))
		}
	}
	if name, value := r.bestPeer(); r.MustBeat && name != "" && !r.better(r.Rescind, value) {
		out = append(out, fmt.Sprintf("%s is better: %s %s", name, figure(value), r.Unit))
	}
	return out
}

// title names the row in a message.
func (r *Row) title() string {
	t := r.Row + " " + count(r.N)
	if r.Case != "" {
		t += " (" + r.Case + ")"
	}
	return t
}

// bestPeer is the best exact peer, "" when there is none.
func (r *Row) bestPeer() (name string, value float64) {
	for _, peer := range slices.Sorted(maps.Keys(r.Peers)) {
		if slices.Contains(r.Inexact, peer) {
			continue
		}
		if v := r.Peers[peer]; name == "" || r.better(v, value) {
			name, value = peer, v
		}
	}
	return name, value
}

// better tells whether a is better than b in the row's unit: rates ("req/s") and
// gains ("x") count up, all else down.
func (r *Row) better(a, b float64) bool {
	if strings.HasSuffix(r.Unit, "/s") || r.Unit == "x" {
		return a > b
	}
	return a < b
}

// Config is what every measurement gets.
type Config struct {
	// Quick asks for smaller sizes and shorter runs: the whole of the bench within
	// five minutes on two cores.
	Quick bool
	// Tiny asks for the smallest size only, for tests of the bench itself: its
	// figures mean nothing.
	Tiny bool
	// Dir is a directory that is removed afterwards.
	Dir string
	// Log takes a line about progress.
	Log io.Writer
}

func (c *Config) logf(form string, args ...any) { fmt.Fprintf(c.Log, form+"\n", args...) }

// pick gives the sizes or rounds that fit the run.
func pick[T any](c *Config, full, quick, tiny T) T {
	switch {
	case c.Tiny:
		return tiny
	case c.Quick:
		return quick
	}
	return full
}

// measurement is one row of the table, at all its sizes.
type measurement struct {
	name string
	// needs are programs that must be on the PATH.
	needs []string
	run   func(ctx context.Context, c *Config) ([]Row, error)
}
