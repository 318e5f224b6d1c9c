// Package chart draws bars as SVG, readable on light and on dark.
package chart

import (
	"fmt"
	"math"
	"strings"
)

// Bar is one line of a chart.
type Bar struct {
	Label     string
	Value     float64
	Low, High float64 // the interval; drawn if High is above Low
	Text      string  // the value in words
	Kind      Kind
}

// Kind is what a bar stands for.
type Kind string

// The kinds.
const (
	Ours  Kind = "ours"
	Peer  Kind = "peer"
	Floor Kind = "floor"
)

// Sizes in pixels.
const (
	width, left, right = 760, 190, 130
	top, row, bar      = 62, 30, 18
)

const style = `
svg { font: 14px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.back { fill: #ffffff; }
text { fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.soft { fill: #59636e; font-size: 12px; }
.ours { fill: #0969da; }
.peer { fill: #afb8c1; }
.floor { fill: #d9c2ff; }
.line { stroke: #1f2328; stroke-width: 1.5; }
.axis { stroke: #d1d9e0; stroke-width: 1; }
@media (prefers-color-scheme: dark) {
  .back { fill: #0d1117; }
  text { fill: #e6edf3; }
  .soft { fill: #9198a1; }
  .ours { fill: #4493f8; }
  .peer { fill: #59636e; }
  .floor { fill: #6e55a8; }
  .line { stroke: #e6edf3; }
  .axis { stroke: #3d444d; }
}
`

// Bars draws bars from zero, in the order given. What lies beyond what there is
// room for is cut by no one: the longest bar or whisker has the whole width.
func Bars(title, subtitle string, bars []Bar) string {
	longest := 0.0
	for _, b := range bars {
		longest = max(longest, b.Value, b.High)
	}
	if longest <= 0 || math.IsInf(longest, 0) || math.IsNaN(longest) {
		longest = 1
	}
	x := func(v float64) float64 { return left + v/longest*(width-left-right) }
	height := top + row*len(bars) + 14
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		width, height, width, height, escape(title+", "+subtitle))
	fmt.Fprintf(&s, "<style>%s</style>\n<rect class=\"back\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", style, width, height)
	fmt.Fprintf(&s, `<text class="title" x="16" y="26">%s</text>`+"\n", escape(title))
	fmt.Fprintf(&s, `<text class="soft" x="16" y="46">%s</text>`+"\n", escape(subtitle))
	fmt.Fprintf(&s, `<line class="axis" x1="%d" y1="%d" x2="%d" y2="%d"/>`+"\n", left, top-4, left, height-10)
	for i, b := range bars {
		y := float64(top + i*row)
		middle := y + bar/2.0
		fmt.Fprintf(&s, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-10, middle+5, escape(b.Label))
		fmt.Fprintf(&s, `<rect class="%s" x="%d" y="%.1f" width="%.1f" height="%d" rx="2"/>`+"\n",
			b.Kind, left, y, max(1, x(b.Value)-left), bar)
		end := x(b.Value)
		if b.High > b.Low {
			for _, l := range [][4]float64{
				{x(b.Low), middle, x(b.High), middle},
				{x(b.Low), middle - 4, x(b.Low), middle + 4},
				{x(b.High), middle - 4, x(b.High), middle + 4},
			} {
				fmt.Fprintf(&s, `<line class="line" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", l[0], l[1], l[2], l[3])
			}
			end = max(end, x(b.High))
		}
		fmt.Fprintf(&s, `<text x="%.1f" y="%.1f">%s</text>`+"\n", end+8, middle+5, escape(b.Text))
	}
	s.WriteString("</svg>\n")
	return s.String()
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

func escape(s string) string { return escaper.Replace(s) }
