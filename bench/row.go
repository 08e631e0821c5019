package main

import (
	"context"
	"fmt"
	"io"
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
	// Ratio is compared with Target by Must; Of says of what it is the ratio.
	Ratio  float64 `json:"ratio"`
	Of     string  `json:"of"`
	Must   Must    `json:"must,omitempty"`
	Target float64 `json:"target,omitempty"`
	// Pass is true for a row without a target.
	Pass bool `json:"pass"`
	// Detail has what belongs to the row beside its figure: p99, allocations.
	Detail map[string]float64 `json:"detail,omitempty"`
}

// Must says how a ratio is compared with its target.
type Must string

// The comparisons. Unbound rows show growth; nothing is asked of them.
const (
	AtMost  Must = "<="
	AtLeast Must = ">="
	Unbound Must = ""
)

// Judge sets Pass by Ratio, Must and Target.
func (r *Row) Judge() {
	switch r.Must {
	case AtMost:
		r.Pass = r.Ratio <= r.Target
	case AtLeast:
		r.Pass = r.Ratio >= r.Target
	default:
		r.Pass = true
	}
}

// Config is what every measurement gets.
type Config struct {
	// Quick asks for smaller sizes and shorter runs: the whole of the bench within
	// five minutes on two cores.
	Quick bool
	// Dir is a directory that is removed afterwards.
	Dir string
	// Log takes a line about progress.
	Log io.Writer
}

func (c *Config) logf(form string, args ...any) { fmt.Fprintf(c.Log, form+"\n", args...) }

// measurement is one row of the table, at all its sizes.
type measurement struct {
	name string
	run  func(ctx context.Context, c *Config) ([]Row, error)
}
