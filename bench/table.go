package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// printer writes rows for people or for programs.
type printer struct {
	out, log       io.Writer
	json, markdown bool
	machine        string
}

// progress takes each row as it is known.
func (p *printer) progress(r Row) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(r)
	}
	fmt.Fprintf(p.log, "  %s: %s %s, %s\n", r.title(), figure(r.Rescind), r.Unit, verdict(&r))
	return nil
}

// table takes all rows at the end. Without a machine it leaves that line out: rows
// of a file do not say on which they were measured.
func (p *printer) table(rows []Row) error {
	if p.json {
		fmt.Fprintln(p.log, p.machine)
		return nil
	}
	if p.markdown {
		return markdown(p.out, p.machine, rows)
	}
	if p.machine != "" {
		if _, err := fmt.Fprintln(p.out, p.machine); err != nil {
			return err
		}
	}
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for i := range rows {
		fmt.Fprintln(t, strings.Join(cells(&rows[i]), "\t"))
	}
	return t.Flush()
}

func markdown(out io.Writer, machine string, rows []Row) error {
	var b strings.Builder
	if machine != "" {
		fmt.Fprintf(&b, "%s\n\n", machine)
	}
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for i := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells(&rows[i]), " | "))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

var columns = []string{"row", "case", "n", "rescind", "limit", "best peer", "ratio", "target", "verdict"}

func cells(r *Row) []string {
	limit, peer, target := "", "", ""
	if r.Limit != 0 {
		limit = figure(r.Limit) + " " + r.LimitName
	}
	if name, value := r.bestPeer(); name != "" {
		peer = figure(value) + " " + name
	}
	if r.Must != Unbound {
		target = string(r.Must) + " " + figure(r.Target)
	}
	return []string{r.Row, r.Case, count(r.N), figure(r.Rescind) + " " + r.Unit, limit, peer,
		figure(r.Ratio) + " of " + r.Of, target, verdict(r)}
}

// verdict is PASS, short, or nothing for a row of which nothing is asked.
func verdict(r *Row) string {
	switch {
	case len(r.Misses()) > 0:
		return "short"
	case r.Must == Unbound && !r.MustBeat && len(r.Also) == 0:
		return "-"
	}
	return "PASS"
}

// figure writes three digits that count.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v, 'f', max(0, 2-int(math.Floor(math.Log10(a)))), 64)
	}
}

// count writes a size: 1k, 100k, 10M.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return strconv.FormatFloat(float64(n)/1e6, 'f', -1, 64) + "M"
	case n >= 1_000 && n%1000 == 0:
		return strconv.Itoa(n/1000) + "k"
	}
	return strconv.Itoa(n)
}
