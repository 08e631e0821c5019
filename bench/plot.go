package main

import (
	"cmp"
	"errors"
	"fmt"
	"image/color"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgsvg" // SVG is a format
)

// chart is one plot: the figures of the rows of one name and case against N.
type chart struct {
	file, title, x, y string
	row, kase         string
}

var charts = []chart{
	{"check.svg", "Check of a token that is not revoked, 1 core", "revoked tokens in the set", "ns per check", "check_miss", "1 core"},
	{"propagation.svg", "From published to refused by every agent", "agents", "ms", "propagation", ""},
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
	p, legend := plot.New(), plot.NewLegend()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = ch.title, ch.x, ch.y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(powers), plot.TickerFunc(powers)
	p.Add(plotter.NewGrid())
	for i, name := range highestFirst(lines) {
		line, points, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return err
		}
		line.Color, line.Width = palette[i%len(palette)], vg.Points(1.2)
		if name == "rescind" {
			line.Color, line.Width = color.RGBA{0xd6, 0x27, 0x28, 0xff}, vg.Points(2.5)
		}
		points.Color = line.Color
		p.Add(line, points)
		legend.Add(name, line, points)
	}
	return save(file, p, &legend)
}

// save draws the legend beside the plot, where it hides no line.
func save(file string, p *plot.Plot, legend *plot.Legend) (err error) {
	fonts := text.Plain{Fonts: font.DefaultCache}
	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle,
		&p.X.Tick.Label, &p.Y.Tick.Label, &legend.TextStyle} {
		style.Font.Variant, style.Handler = "Sans", fonts
	}
	legend.Top, legend.Left = true, true
	canvas, err := draw.NewFormattedCanvas(22*vg.Centimeter, 11*vg.Centimeter, strings.TrimPrefix(filepath.Ext(file), "."))
	if err != nil {
		return err
	}
	all, beside := draw.New(canvas), 5.5*vg.Centimeter
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	p.Draw(draw.Crop(all, 0, -beside, 0, -vg.Millimeter))
	legend.Draw(draw.Crop(all, all.Max.X-beside+3*vg.Millimeter, 0, 0, -vg.Centimeter))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

// highestFirst gives the names in the order in which the lines end, from above.
func highestFirst(lines map[string]plotter.XYs) []string {
	last := func(name string) float64 { return lines[name][len(lines[name])-1].Y }
	return slices.SortedFunc(maps.Keys(lines), func(a, b string) int {
		return cmp.Or(cmp.Compare(last(b), last(a)), strings.Compare(a, b))
	})
}

// powers labels powers of ten as the table does, and marks what is between them.
func powers(low, high float64) (ticks []plot.Tick) {
	for unit := math.Pow(10, math.Floor(math.Log10(low))); unit <= high; unit *= 10 {
		for i := range 9 {
			t := plot.Tick{Value: unit * float64(i+1)}
			if i == 0 && unit >= 1 {
				t.Label = count(int(math.Round(unit)))
			} else if i == 0 {
				t.Label = strconv.FormatFloat(unit, 'g', 3, 64)
			}
			if t.Value >= low && t.Value <= high {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}
