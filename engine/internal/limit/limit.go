// Package limit settles the bounds of a struct that a program fills in: zero is
// the default, NoLimit is no bound, everything else must be within its range.
package limit

import (
	"fmt"
	"math"
	"time"
)

// NoLimit is what a program writes for "no bound".
const NoLimit = -1

// What NoLimit becomes, so that code compares with a bound and asks for nothing
// else.
const (
	Unbounded = math.MaxInt32 // in a number
	Never     = math.MaxInt64 // in a duration
)

// Row is one bound: a field with its default and its range. A duration is in
// nanoseconds.
type Row struct {
	Name         string
	Default      int64
	Min, Max     int64
	WithoutLimit int64 // what NoLimit becomes; 0: NoLimit is refused
}

// Settle fills in the default of the field, an *int or a *time.Duration, and
// checks its range. The error names the package, the struct, the field, the value
// and the range.
func (r Row) Settle(pkg, of string, field any) error {
	v := read(field)
	switch {
	case v == NoLimit && r.WithoutLimit != 0:
		v = r.WithoutLimit
	case v == 0:
		v = r.Default
	case v < r.Min || v > r.Max:
		return r.outOfRange(pkg, of, field, v)
	}
	write(field, v)
	return nil
}

func write(field any, v int64) {
	switch p := field.(type) {
	case *int:
		*p = int(v)
	case *time.Duration:
		*p = time.Duration(v)
	}
}

// IsZero reports whether a field is as the program left it.
func IsZero(field any) bool { return read(field) == 0 }

// Copy sets a field to what another is, which is settled.
func Copy(to, from any) { write(to, read(from)) }

func read(field any) int64 {
	switch p := field.(type) {
	case *int:
		return int64(*p)
	case *time.Duration:
		return int64(*p)
	}
	panic(fmt.Sprintf("limit: a field is a %T: it must be an *int or a *time.Duration", field))
}

func (r Row) outOfRange(pkg, of string, field any, v int64) error {
	none := ""
	if r.WithoutLimit != 0 {
		none = ", or NoLimit"
	}
	if _, ok := field.(*time.Duration); ok {
		return fmt.Errorf("%s: %s.%s is %v: it must be from %v to %v, or 0 for the default%s",
			pkg, of, r.Name, time.Duration(v), time.Duration(r.Min), time.Duration(r.Max), none)
	}
	return fmt.Errorf("%s: %s.%s is %d: it must be from %d to %d, or 0 for the default%s",
		pkg, of, r.Name, v, r.Min, r.Max, none)
}

// Longest is longer than any timeout that a table allows.
const Longest = 1000 * 24 * time.Hour

// Endless reports whether a timeout never expires.
func Endless(d time.Duration) bool { return d >= Longest }
