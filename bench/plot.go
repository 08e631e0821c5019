package main

import (
	"fmt"
	"image/color"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// chart is one plot: the figures of the rows of one name and case against N.
type chart struct {
	file, title, x, y string
	row, kase         string
}

var charts = []chart{
	{"check.svg", "Check of a token that is not revoked, 1 core", "revoked tokens in the set", "ns per check", "check_miss", "1 core"},
	{"propagation.svg", "From accepted to refused by every agent", "agents", "ms", "propagation", ""},
}

// plots writes each chart that there are rows for; "" is for none. Without a case
// a chart takes the first that it finds.
func plots(dir string, rows []Row) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, ch := range charts {
		lines := ch.lines(rows)
		if !grows(lines["rescind"]) {
			continue
		}
		if err := ch.draw(filepath.Join(dir, ch.file), lines); err != nil {
			return fmt.Errorf("plotting %s: %w", ch.file, err)
		}
	}
	return nil
}

// lines are the points by what they show: rescind, the limit, each peer.
func (ch *chart) lines(rows []Row) map[string]plotter.XYs {
	lines := map[string]plotter.XYs{}
	for i := range rows {
		r := &rows[i]
		if r.Row != ch.row || r.N <= 0 {
			continue
		}
		if ch.kase == "" {
			ch.kase, ch.y = r.Case, r.Unit
		}
		if r.Case != ch.kase {
			continue
		}
		add := func(name string, v float64) {
			if v > 0 { // a logarithmic axis has no zero
				lines[name] = append(lines[name], plotter.XY{X: float64(r.N), Y: v})
			}
		}
		add("rescind", r.Rescind)
		add(r.LimitName, r.Limit)
		for name, v := range r.Peers {
			add(name, v)
		}
	}
	return lines
}

// grows tells whether there are two sizes at least: a plot of one says nothing.
func grows(points plotter.XYs) bool {
	return slices.ContainsFunc(points, func(p plotter.XY) bool { return p.X != points[0].X })
}

var palette = []color.Color{
	color.RGBA{0x1f, 0x77, 0xb4, 0xff}, color.RGBA{0x2c, 0xa0, 0x2c, 0xff}, color.RGBA{0x94, 0x67, 0xbd, 0xff},
	color.RGBA{0x8c, 0x56, 0x4b, 0xff}, color.RGBA{0x17, 0xbe, 0xcf, 0xff}, color.RGBA{0xff, 0x7f, 0x0e, 0xff},
	color.RGBA{0x7f, 0x7f, 0x7f, 0xff},
}

func (ch *chart) draw(file string, lines map[string]plotter.XYs) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = ch.title, ch.x, ch.y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for i, name := range slices.Sorted(maps.Keys(lines)) {
		line, points, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return err
		}
		line.Color = palette[i%len(palette)]
		line.Width = vg.Points(1.2)
		if name == "rescind" {
			line.Color, line.Width = color.RGBA{0xd6, 0x27, 0x28, 0xff}, vg.Points(2.5)
		}
		points.Color = line.Color
		p.Add(line, points)
		p.Legend.Add(name, line, points)
	}
	return p.Save(18*vg.Centimeter, 11*vg.Centimeter, file)
}
