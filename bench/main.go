package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// measurements are all rows in the order of the table.
var measurements = []measurement{
	{"check", []string{"redis-server"}, checks},
	{"memory_disk", []string{"redis-server"}, memoryDisk},
	{"start", nil, start},
	{"idle_agent", []string{"go"}, idleAgent},
	{"idle_server", []string{"go"}, idleServer},
	{"sidecar", []string{"go", "wrk"}, sidecars},
	{"ways_out", []string{"go", "wrk", "nginx"}, waysOut},
	{"propagation", []string{"redis-server"}, measurePropagation},
	{"accept", nil, measureAccept},
	{"storm", nil, measureStorm},
	{"singles", nil, measureSingles},
	{"catchup", nil, measureCatchup},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ran, err := runChild(ctx, os.Args[1:])
	if !ran {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errMissed is returned when a row misses its target.
var errMissed = errors.New("missed its target")

// options are the flags.
type options struct {
	quick, tiny, json, markdown bool
	rows, plots, from           string
}

func parse(args []string, log io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.BoolVar(&o.quick, "quick", false, "smaller sizes and shorter runs: within five minutes on two cores")
	flags.BoolVar(&o.tiny, "tiny", false, "the smallest size only, for tests of the bench: its figures mean nothing")
	flags.BoolVar(&o.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&o.markdown, "markdown", false, "print the table as Markdown")
	flags.StringVar(&o.rows, "rows", "", "measure these rows only, with commas between them: "+names(measurements))
	flags.StringVar(&o.from, "from", "", "measure nothing: take the rows that --json has written into this file")
	flags.StringVar(&o.plots, "plots", "", "write plots (SVG) into this directory")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.json && o.markdown {
		return nil, errors.New("--json and --markdown exclude each other")
	}
	if o.from != "" && (o.json || o.quick || o.tiny || o.rows != "") {
		return nil, errors.New("--from measures nothing: it goes with --markdown and --plots only")
	}
	return o, nil
}

func names(ms []measurement) string {
	var out []string
	for _, m := range ms {
		out = append(out, m.name)
	}
	return strings.Join(out, ",")
}

// selected gives the measurements that are named, all when none is, and refuses
// to begin what a missing program would end. "check_hit" names the measurement
// check too, whose row it is.
func (o *options) selected() ([]measurement, error) {
	chosen := measurements
	if o.rows != "" {
		chosen = nil
		for _, name := range strings.Split(o.rows, ",") {
			i := slices.IndexFunc(measurements, func(m measurement) bool { return m.name == name || strings.HasPrefix(name, m.name+"_") })
			if i < 0 {
				return nil, fmt.Errorf("--rows: there is no %q; there are %s", name, names(measurements))
			}
			if !slices.ContainsFunc(chosen, func(m measurement) bool { return m.name == measurements[i].name }) {
				chosen = append(chosen, measurements[i])
			}
		}
	}
	for _, m := range chosen {
		for _, program := range m.needs {
			if _, err := exec.LookPath(program); err != nil {
				return nil, fmt.Errorf("%s needs %s: apt-get install redis-server wrk nginx-core", m.name, program)
			}
		}
	}
	return chosen, nil
}

// run measures and prints. A measurement that fails does not keep the others
// from being printed.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, log)
	if err != nil {
		return err
	}
	if o.from != "" {
		rows, err := readRows(o.from)
		if err != nil {
			return err
		}
		p := printer{out: out, log: log, markdown: o.markdown}
		return errors.Join(p.table(rows), plots(o.plots, rows))
	}
	chosen, err := o.selected()
	if err != nil {
		return err
	}
	// The sets that are compared are large; collecting seldom keeps the time that
	// goes into filling them short.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	dir, err := os.MkdirTemp("", "rescind-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &Config{Quick: o.quick, Tiny: o.tiny, Dir: dir, Log: log}
	p := printer{out: out, log: log, json: o.json, markdown: o.markdown, machine: machine()}
	rows, err := measure(ctx, c, chosen, p.progress)
	return errors.Join(err, p.table(rows), plots(o.plots, rows), missed(rows))
}

// measure runs the measurements and gives each row to done as soon as it is
// known.
func measure(ctx context.Context, c *Config, chosen []measurement, done func(Row) error) ([]Row, error) {
	var all []Row
	var errs []error
	for _, m := range chosen {
		if ctx.Err() != nil {
			return all, errors.Join(append(errs, context.Cause(ctx))...)
		}
		begun := time.Now()
		c.logf("%s ...", m.name)
		rows, err := m.run(ctx, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("measuring %s: %w", m.name, err))
		}
		for i := range rows {
			rows[i].Judge()
			if err := done(rows[i]); err != nil {
				return all, err
			}
		}
		all = append(all, rows...)
		c.logf("%s took %.1f s", m.name, time.Since(begun).Seconds())
	}
	return all, errors.Join(errs...)
}

// missed is the error that names the rows which miss their target, nil when none
// does.
func missed(rows []Row) error {
	var out []string
	for i := range rows {
		if what := rows[i].Misses(); len(what) > 0 {
			out = append(out, rows[i].title()+": "+strings.Join(what, ", "))
		}
	}
	if out == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", errMissed, strings.Join(out, "; "))
}
