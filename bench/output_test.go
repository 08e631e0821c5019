package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixed are rows as a run gives them: one that passes, two that are short, one
// of which nothing is asked.
func fixed() []Row {
	rows := []Row{
		{Row: "check_miss", Case: "1 core", N: 1000, Rescind: 21.5, Unit: "ns", Limit: 10, LimitName: "random_read",
			Peers: map[string]float64{"map_rwmutex": 40, "bloom": 5}, Inexact: []string{"bloom"}, MustBeat: true,
			Ratio: 2.15, Of: "random_read", Must: AtMost, Target: 2.5,
			Detail: map[string]float64{"allocs": 0}, Also: map[string]Bound{"allocs": {AtMost, 0}}},
		{Row: "check_miss", Case: "1 core", N: 10_000_000, Rescind: 300, Unit: "ns", Limit: 100, LimitName: "random_read",
			Peers: map[string]float64{"map_rwmutex": 250, "bloom": 280}, Inexact: []string{"bloom"}, MustBeat: true,
			Ratio: 3, Of: "random_read", Must: AtMost, Target: 2.5,
			Detail: map[string]float64{"allocs": 1}, Also: map[string]Bound{"allocs": {AtMost, 0}}},
		{Row: "propagation", N: 1, Rescind: 1.5, Unit: "ms", Ratio: 1.1, Of: "nats"},
		{Row: "propagation", N: 100, Rescind: 4, Unit: "ms", Ratio: 1.3, Of: "nats"},
		{Row: "sidecar", Case: "verifying", N: 16, Rescind: 900, Unit: "req/s", Limit: 1000, LimitName: "no_check",
			Ratio: 0.8, Of: "no_check", Must: AtLeast, Target: 0.9},
	}
	for i := range rows {
		rows[i].Judge()
	}
	return rows
}

func TestARowPassesOnlyWhenAllThatIsAskedHolds(t *testing.T) {
	rows := fixed()
	for i, want := range []bool{true, false, true, true, false} {
		if rows[i].Pass != want {
			t.Errorf("%s: pass is %v, misses %q", rows[i].title(), rows[i].Pass, rows[i].Misses())
		}
	}
	got := strings.Join(rows[1].Misses(), "; ")
	for _, want := range []string{"3.00 of random_read, must be <= 2.50", "allocs is 1.00, must be <= 0", "map_rwmutex is better: 250 ns"} {
		if !strings.Contains(got, want) {
			t.Errorf("misses are %q, want %q among them", got, want)
		}
	}
	if strings.Contains(got, "bloom") {
		t.Errorf("a peer that is not exact must not be beaten: %q", got)
	}
}

func TestAConditionOnWhatWasNotMeasuredIsMissed(t *testing.T) {
	r := Row{Also: map[string]Bound{"allocs": {AtMost, 0}}}
	if r.Judge(); r.Pass {
		t.Error("a row passes without the figure that is asked for")
	}
}

func TestTheErrorNamesEachRowThatMisses(t *testing.T) {
	err := missed(fixed())
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error is %v, want one line", err)
	}
	for _, want := range []string{"check_miss 10M (1 core)", "sidecar 16 (verifying)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	if err := missed(fixed()[:1]); err != nil {
		t.Errorf("nothing misses, error is %v", err)
	}
}

const wantTable = `machine
row          case       n    rescind    limit             best peer        ratio                target   verdict
check_miss   1 core     1k   21.5 ns    10.0 random_read  40.0 map_rwmutex 2.15 of random_read  <= 2.50  PASS
check_miss   1 core     10M  300 ns     100 random_read   250 map_rwmutex  3.00 of random_read  <= 2.50  short
propagation             1    1.50 ms                                       1.10 of nats                  -
propagation             100  4.00 ms                                       1.30 of nats                  -
sidecar      verifying  16   900 req/s  1000 no_check                      0.800 of no_check    >= 0.900 short
`

func TestTable(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out, log: io.Discard, machine: "machine"}
	if err := p.table(fixed()); err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(out.String(), "\n"), strings.Split(wantTable, "\n")
	if len(got) != len(want) {
		t.Fatalf("got\n%s\nwant\n%s", out.String(), wantTable)
	}
	for i := range want {
		if strings.Join(strings.Fields(got[i]), " ") != strings.Join(strings.Fields(want[i]), " ") {
			t.Errorf("got  %q\nwant %q", got[i], want[i])
		}
	}
	if head := strings.Index(got[1], "verdict"); strings.Index(got[2], "PASS") != head || strings.Index(got[3], "short") != head {
		t.Errorf("the columns are not aligned:\n%s", out.String())
	}
}

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out, log: io.Discard, machine: "machine", markdown: true}
	if err := p.table(fixed()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if lines[0] != "machine" || len(lines) != 4+len(fixed()) {
		t.Fatalf("got\n%s", out.String())
	}
	for _, line := range lines[2:] {
		if strings.Count(line, "|") != len(columns)+1 {
			t.Errorf("%q has not %d columns", line, len(columns))
		}
	}
}

func TestJSONIsOneObjectALine(t *testing.T) {
	var out bytes.Buffer
	p := printer{out: &out, log: io.Discard, json: true}
	for _, r := range fixed() {
		if err := p.progress(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.table(fixed()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(fixed()) {
		t.Fatalf("%d lines, want %d", len(lines), len(fixed()))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"row": "check_miss", "n": 1000.0, "rescind": 21.5, "unit": "ns", "limit": 10.0,
		"ratio": 2.15, "target": 2.5, "pass": true} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if peers, _ := got["peers"].(map[string]any); peers["map_rwmutex"] != 40.0 {
		t.Errorf("peers are %v", got["peers"])
	}
}

func TestTableOfAnEarlierRun(t *testing.T) {
	var written, want, got bytes.Buffer
	p := printer{out: &written, log: io.Discard, json: true}
	for _, r := range fixed() {
		if err := p.progress(r); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "rows.json")
	if err := os.WriteFile(path, written.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := markdown(&want, "", fixed()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := run(t.Context(), []string{"--from", path, "--markdown", "--plots", dir}, &got, io.Discard); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("table:\n%s\nwant:\n%s", &got, &want)
	}
	if _, err := os.Stat(filepath.Join(dir, "check.svg")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(`{"row":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"--from", path}, io.Discard, io.Discard); err == nil {
		t.Error("what is no row is taken for one")
	}
}

func TestPlotsShowWhatThereIsDataFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	if err := plots(dir, fixed()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"check.svg", "propagation.svg"} {
		svg, err := os.ReadFile(filepath.Join(dir, want))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(svg, []byte("<svg")) || !bytes.Contains(svg, []byte("rescind")) {
			t.Errorf("%s shows no line of rescind", want)
		}
	}
	dir = t.TempDir()
	if err := plots(dir, fixed()[1:3]); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("one size each, and %d plots", len(files))
	}
}

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--rows", "nothing"}, {"--json", "--markdown"}, {"--from", "x", "--quick"}, {"extra"}, {"--unknown"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
