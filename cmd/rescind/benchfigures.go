package main

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// figures are what is shown of many measurements of one thing, in the unit that
// the name of their field says.
type figures struct {
	Count     int64    `json:"count"`
	Mean      float64  `json:"mean"`
	P50       float64  `json:"p50"`
	P90       float64  `json:"p90"`
	P99       float64  `json:"p99"`
	Max       float64  `json:"max"`
	Histogram []bucket `json:"histogram,omitempty"`
}

// bucket counts the measurements from From up to, not including, To. The first
// begins with the least, the last ends with the largest of all.
type bucket struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int64   `json:"count"`
}

// recorder takes measurements as whole numbers, unit of which are one of what is
// shown.
type recorder struct {
	h    *hdrhistogram.Histogram
	unit float64
}

// newRecorder makes one for values up to most, exact to three digits.
func newRecorder(most int64, unit float64) *recorder {
	return &recorder{hdrhistogram.New(1, most, 3), unit}
}

// newSmallRecorder makes one that is exact to two digits and takes a seventh of the
// memory, for where there are thousands.
func newSmallRecorder(most int64, unit float64) *recorder {
	return &recorder{hdrhistogram.New(1, most, 2), unit}
}

// record takes one measurement; what is beyond the largest counts as the largest.
func (r *recorder) record(v int64) {
	// It fails for what is out of range only, and this is not.
	_ = r.h.RecordValue(min(max(v, 0), r.h.HighestTrackableValue()))
}

func (r *recorder) merge(other *recorder) { r.h.Merge(other.h) }

func (r *recorder) figures() figures {
	at := func(q float64) float64 { return float64(r.h.ValueAtQuantile(q)) / r.unit }
	f := figures{Count: r.h.TotalCount(), Mean: r.h.Mean() / r.unit, P50: at(50), P90: at(90), P99: at(99),
		Max: float64(r.h.Max()) / r.unit}
	if f.Count > 0 {
		f.Histogram = r.buckets(edges(at(1), f.P50, f.P99, 1/r.unit))
	}
	return f
}

// buckets counts what lies between the edges, below the first and above the last.
// Empty ones at either end are left out.
func (r *recorder) buckets(edges []float64) []bucket {
	least, most := float64(r.h.Min())/r.unit, float64(r.h.Max())/r.unit
	out := make([]bucket, len(edges)+1)
	for i := range out {
		out[i].From, out[i].To = least, most
		if i > 0 {
			out[i].From = edges[i-1]
		}
		if i < len(edges) {
			out[i].To = edges[i]
		}
	}
	for _, bar := range r.h.Distribution() {
		i := 0
		for v := float64(bar.From) / r.unit; i < len(edges) && v >= edges[i]; i++ {
		}
		out[i].Count += bar.Count
	}
	for len(out) > 1 && out[0].Count == 0 {
		out = out[1:]
	}
	for len(out) > 1 && out[len(out)-1].Count == 0 {
		out = out[:len(out)-1]
	}
	return out
}

// wide is how much larger than the median the 99th percentile is from which on
// equal steps would put nearly everything into one row.
const wide = 8

// rows are how many equal steps most of the values are spread over, at most.
const rows = 12

// edges puts limits between rows so that most of what was measured is seen in
// a dozen of them: equal steps, or 1, 2, 5, 10 … when the values are far apart.
// None is closer to the next than grain, the smallest difference that was measured.
func edges(low, median, high, grain float64) (out []float64) {
	if high > wide*max(median, grain) {
		for e := below125(max(low, grain)); ; e = after125(e) {
			out = append(out, e)
			if e > high {
				return out
			}
		}
	}
	step := max(niceStep((high-low)/rows), grain)
	for n := math.Floor(low / step); ; n++ {
		out = append(out, times(n, step))
		if out[len(out)-1] > high {
			return out
		}
	}
}

// times is n steps. Steps below 1 are a whole part of it, and a division by that
// gives the number nearest to the true one: 3 times 0.1 would not be 0.3.
func times(n, step float64) float64 {
	if step < 1 {
		return n / math.Round(1/step)
	}
	return n * step
}

// niceStep is the smallest of 1, 2, 2.5, 5, 10 … that is not below v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 0
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, lead := range []float64{1, 2, 2.5, 5} {
		if v <= lead*power {
			return lead * power
		}
	}
	return 10 * power
}

// below125 is the largest of 1, 2, 5, 10 … that is not above v.
func below125(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	switch lead := v / power; {
	case lead >= 5:
		return 5 * power
	case lead >= 2:
		return 2 * power
	default:
		return power
	}
}

// after125 is what comes next in 1, 2, 5, 10 ….
func after125(e float64) float64 {
	// The lead of what below125 made, but for rounding.
	if lead := e / math.Pow(10, math.Floor(math.Log10(e)+1e-9)); lead > 1.5 && lead < 3 {
		return e * 2.5
	}
	return e * 2
}
