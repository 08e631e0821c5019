package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// page is where a bench writes for people.
type page struct {
	width  int
	colour bool
}

// The widths that a page may have: narrower ones wrap, and a wider bar says no more.
const (
	narrowest = 60
	usual     = 80
	widest    = 100
)

func (p page) paint(code, s string) string {
	if !p.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p page) title(s string) string { return p.paint("1", s) }
func (p page) faint(s string) string { return p.paint("2", s) }
func (p page) alarm(s string) string { return p.paint("33", s) }

// histogram draws one row for each bucket: its limits, a bar, its count, and
// which percentiles lie in it.
func (p page) histogram(f figures, unit string) string {
	labels, counts := make([]string, len(f.Histogram)), make([]string, len(f.Histogram))
	wideLabel, wideCount, most := 0, 0, int64(0)
	for i, b := range f.Histogram {
		labels[i], counts[i] = f.label(i, unit), grouped(b.Count)
		wideLabel = max(wideLabel, utf8.RuneCountInString(labels[i]))
		wideCount = max(wideCount, len(counts[i]))
		most = max(most, b.Count)
	}
	// Two columns before, two between each, and "p50 p90 p99" behind.
	room := max(p.width-wideLabel-wideCount-2-2*3-len("p50 p90 p99"), 10)
	var out strings.Builder
	for i, b := range f.Histogram {
		bar := block(float64(b.Count)/float64(most), room)
		line := fmt.Sprintf("  %s  %s%s  %*s", padLeft(labels[i], wideLabel), p.paint("36", bar),
			strings.Repeat(" ", room-utf8.RuneCountInString(bar)), wideCount, counts[i])
		if marks := f.marks(i); marks != "" {
			line += "  " + p.faint(marks)
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}

// label names the limits of a row. The outer rows, where the values lie far
// apart, have one limit only.
func (f figures) label(i int, unit string) string {
	b := f.Histogram[i]
	last := len(f.Histogram) - 1
	switch {
	case last == 0 && b.From == b.To:
		return short(b.From) + " " + unit
	case i == last && b.To == f.Max:
		return "≥ " + short(b.From) + " " + unit
	default:
		return short(b.From) + "–" + short(b.To) + " " + unit
	}
}

// marks names the percentiles that lie in a row.
func (f figures) marks(i int) string {
	var marks []string
	for _, m := range []struct {
		name string
		at   float64
	}{{"p50", f.P50}, {"p90", f.P90}, {"p99", f.P99}} {
		if f.row(m.at) == i {
			marks = append(marks, m.name)
		}
	}
	return strings.Join(marks, " ")
}

// row is the row in which a value lies.
func (f figures) row(v float64) int {
	for i, b := range f.Histogram {
		if v < b.To {
			return i
		}
	}
	return len(f.Histogram) - 1
}

// block is a bar of a share of so many columns, in eighths of a column. What is
// not nothing is seen.
func block(share float64, columns int) string {
	eighths := int(math.Round(share * float64(columns) * 8))
	if share > 0 {
		eighths = max(eighths, 1)
	}
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

// padLeft is %*s by characters: fmt counts those of a string, too, but not in the
// width of a %s that holds colours.
func padLeft(s string, width int) string {
	return strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0)) + s
}

// short is a number with three digits that count, and no more zeros than it takes.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return grouped(int64(math.Round(v)))
	case a >= 10:
		return trimZeros(strconv.FormatFloat(v, 'f', 1, 64))
	default:
		return trimZeros(strconv.FormatFloat(v, 'f', 2, 64))
	}
}

func trimZeros(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

// grouped writes a count with commas between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes.
func size(bytes int64) string {
	v := float64(bytes)
	for _, unit := range []string{"bytes", "KiB", "MiB"} {
		if math.Abs(v) < 1024 {
			return short(v) + " " + unit
		}
		v /= 1024
	}
	return short(v) + " GiB"
}

// counted is a count with the name of what is counted.
func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "y") {
		return grouped(int64(n)) + " " + strings.TrimSuffix(one, "y") + "ies"
	}
	return grouped(int64(n)) + " " + one + "s"
}
