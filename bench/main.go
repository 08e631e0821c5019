package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
)

// measurements are all rows in the order of the table.
var measurements = []measurement{
	{"propagation", measurePropagation},
	{"accept", measureAccept},
	{"storm", measureStorm},
	{"singles", measureSingles},
	{"catchup", measureCatchup},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errMissed is returned when a row misses its target.
var errMissed = errors.New("a row misses its target")

func run(ctx context.Context, args []string, out, log io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "smaller sizes and shorter runs: within five minutes on two cores")
	asJSON := flags.Bool("json", false, "print one JSON object a line")
	only := flags.String("rows", "", "measure these rows only, with commas between them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rescind-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &Config{Quick: *quick, Dir: dir, Log: log}
	missed := false
	for _, m := range measurements {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), m.name) {
			continue
		}
		rows, err := m.run(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for _, r := range rows {
			r.Judge()
			missed = missed || !r.Pass
			if *asJSON {
				if err := json.NewEncoder(out).Encode(r); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(out, "%+v\n", r)
		}
	}
	if missed {
		return errMissed
	}
	return nil
}
