package memory

import (
	"fmt"
	"math"
	"time"
)

// NoLimit in place of a number or a duration of Config means that there is no
// bound. Zero means the default.
const NoLimit = -1

// Config bounds what a Broker keeps. New refuses a value outside its range with an error that
// names the field. Bytes are those of names, data, Info and Tags, and
// of what is needed to keep them.
type Config struct {
	// Bounds of all histories together. Above, the least recently used history is removed,
	// those without publications before the others; the one that is being appended to
	// loses its oldest publications.
	ChannelsMax     int // channels with a history: 65,536
	PublicationsMax int // 1,048,576
	BytesMax        int // 256 MiB; a larger publication fails with broker.ErrTooLarge

	// Keys of broker.Keep.Key that are remembered: so many, and so long. Above, the oldest is forgotten.
	KeysMax     int           // 65,536
	KeyLifetime time.Duration // 5 minutes

	PresenceBytesMax int // of all who are present: 64 MiB; above: broker.ErrFull

	Node       string        // what Broker.Node returns: "memory"
	AskTimeout time.Duration // how long an Ask waits at most: 1 second

	// Clock tells the time; nil: time.Now. It is called on any goroutine, and must not call the Broker.
	Clock func() time.Time
}

const (
	kib       = 1 << 10
	mib       = 1 << 20
	unbounded = math.MaxInt
	never     = math.MaxInt64
)

// row is a bound: a field with its default and the least that it may be.
type row struct {
	name      string
	field     any
	def, min  int64
	unlimited int64
}

// settle fills in the defaults.
func (c *Config) settle() error {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Node == "" {
		c.Node = "memory"
	}
	for _, r := range []row{
		{"ChannelsMax", &c.ChannelsMax, 65_536, 1, unbounded},
		{"PublicationsMax", &c.PublicationsMax, 1_048_576, 1, unbounded},
		{"BytesMax", &c.BytesMax, 256 * mib, 64 * kib, unbounded},
		{"KeysMax", &c.KeysMax, 65_536, 1, unbounded},
		{"KeyLifetime", &c.KeyLifetime, int64(5 * time.Minute), int64(time.Minute), never},
		{"PresenceBytesMax", &c.PresenceBytesMax, 64 * mib, 4 * kib, unbounded},
		{"AskTimeout", &c.AskTimeout, int64(time.Second), int64(time.Millisecond), never},
	} {
		switch p := r.field.(type) {
		case *int:
			v, ok := r.value(int64(*p))
			if !ok {
				return fmt.Errorf("memory: Config.%s is %d: it must be at least %d, or 0 for the default, or NoLimit", r.name, *p, r.min)
			}
			*p = int(v)
		case *time.Duration:
			v, ok := r.value(int64(*p))
			if !ok {
				return fmt.Errorf("memory: Config.%s is %v: it must be at least %v, or 0 for the default, or NoLimit", r.name, *p, time.Duration(r.min))
			}
			*p = time.Duration(v)
		}
	}
	return nil
}

func (r row) value(v int64) (int64, bool) {
	switch v {
	case 0:
		return r.def, true
	case NoLimit:
		return r.unlimited, true
	}
	return v, v >= r.min
}
