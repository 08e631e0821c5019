package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func recorded(unit float64, values ...int64) figures {
	r := newRecorder(longestApplied, unit)
	for _, v := range values {
		r.record(v)
	}
	return r.figures()
}

func TestHistogramShowsEachRowWithItsPercentiles(t *testing.T) {
	var values []int64
	for v, n := range map[int64]int{3: 60, 4: 30, 5: 8, 900: 2} {
		values = append(values, slices.Repeat([]int64{v}, n)...)
	}
	want := `        2–5 ms  ███████████████████████████████████████████████  90  p50 p90
       5–10 ms  ████▏                                             8
      10–20 ms                                                    0
      20–50 ms                                                    0
     50–100 ms                                                    0
    100–200 ms                                                    0
    200–500 ms                                                    0
  500–1,000 ms  █                                                 2  p99
`
	if diff := cmp.Diff(want, page{width: 80}.histogram(recorded(1, values...), "ms")); diff != "" {
		t.Error(diff)
	}
}

func TestHistogramOfOneValueIsOneFullRow(t *testing.T) {
	got := page{width: 60}.histogram(recorded(1, 7, 7, 7), "ms")
	if want := "  7–8 ms  " + strings.Repeat("█", 34) + "  3  p50 p90 p99\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHistogramOfNothingIsNothing(t *testing.T) {
	f := recorded(1)
	if got := (page{width: 80}).histogram(f, "ms"); got != "" || f.Count != 0 {
		t.Errorf("got %q of %+v", got, f)
	}
}

func TestHistogramHasColoursOnlyWhereTheyAreShown(t *testing.T) {
	f := recorded(1, 1, 2, 3)
	if got := (page{width: 80}).histogram(f, "ms"); strings.Contains(got, "\x1b") {
		t.Errorf("colours in %q", got)
	}
	if got := (page{width: 80, colour: true}).histogram(f, "ms"); !strings.Contains(got, "\x1b[36m") {
		t.Errorf("no colours in %q", got)
	}
}

// TestHistogramFitsThePageAndLosesNothing: whatever is measured, the rows hold it
// all, follow each other, and are neither too many nor too long.
func TestHistogramFitsThePageAndLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]float64{1, 32, 1000}).Draw(t, "unit")
		values := rapid.SliceOfN(rapid.Int64Range(0, longestApplied), 1, 200).Draw(t, "values")
		f := recorded(unit, values...)
		sum := int64(0)
		for i, b := range f.Histogram {
			if i > 0 && b.From != f.Histogram[i-1].To || b.From > b.To {
				t.Fatalf("row %d is %+v, after %+v", i, b, f.Histogram[max(i-1, 0)])
			}
			sum += b.Count
		}
		if sum != int64(len(values)) || len(f.Histogram) > 40 {
			t.Fatalf("%d rows hold %d of %d values", len(f.Histogram), sum, len(values))
		}
		width := rapid.IntRange(narrowest, widest).Draw(t, "width")
		for line := range strings.Lines(page{width: width}.histogram(f, "ms")) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("%d columns of %d: %q", n, width, line)
			}
		}
	})
}

func TestEdgesAreRoundNumbers(t *testing.T) {
	for _, c := range []struct {
		low, median, high, grain float64
		want                     []float64
	}{
		{27, 30, 43, 1.0 / 32, []float64{26, 28, 30, 32, 34, 36, 38, 40, 42, 44}},
		{3, 3, 3, 1, []float64{3, 4}},
		{0, 0, 0, 1, []float64{0, 1}},
		{2, 5, 300, 1, []float64{2, 5, 10, 20, 50, 100, 200, 500}},
		{0.1, 0.2, 0.3, 0.001, []float64{0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24, 0.26, 0.28, 0.3, 0.32}},
	} {
		if diff := cmp.Diff(c.want, edges(c.low, c.median, c.high, c.grain)); diff != "" {
			t.Errorf("from %v to %v: %s", c.low, c.high, diff)
		}
	}
}

func TestBlocksGrowByEighthsAndShowTheLeast(t *testing.T) {
	for share, want := range map[float64]string{0: "", 1e-9: "▏", 0.5: "▌", 0.875: "▉", 1: "█"} {
		if got := block(share, 1); got != want {
			t.Errorf("%v of a column is %q, want %q", share, got, want)
		}
	}
}

func TestNumbersAreShortAndExact(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.046: "0.05", 3.14159: "3.14", 2.50: "2.5", 10: "10", 99.96: "100", 1234.5: "1,235"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) is %q, want %q", v, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", math.MaxInt32: "2,147,483,647"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{1: "1 bytes", 1023: "1,023 bytes", 1536: "1.5 KiB", 3 << 30: "3 GiB", 5 << 40: "5,120 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0 entries", 1: "1 entry", 1500: "1,500 entries"} {
		if got := counted(n, "entry"); got != want {
			t.Errorf("counted(%d) is %q, want %q", n, got, want)
		}
	}
}
