package engine

import (
	"fmt"
	"runtime"
	"time"

	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
)

// bound is a row of the table of bounds, and its field.
type bound struct {
	limit.Row
	field func(*Config) any
}

func row(name string, field func(*Config) any, def, least, most, withoutLimit int64) bound {
	return bound{limit.Row{Name: name, Default: def, Min: least, Max: most, WithoutLimit: withoutLimit}, field}
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
	day = int64(24 * time.Hour)
)

// limits is the one place where bounds have their defaults and ranges.
var limits = []bound{
	row("Loops", func(c *Config) any { return &c.Loops }, 0, 1, loop.LoopsMax, 0),
	row("HandshakeTimeout", func(c *Config) any { return &c.HandshakeTimeout }, 10*sec, ms, day, limit.Never),
	row("HandshakeBytesMax", func(c *Config) any { return &c.HandshakeBytesMax }, 16*kib, 256, 16*mib, limit.Unbounded),
	row("HeaderFieldsMax", func(c *Config) any { return &c.HeaderFieldsMax }, 100, 8, 100_000, limit.Unbounded),
	row("HalfOpenMax", func(c *Config) any { return &c.HalfOpenMax }, 8192, 1, limit.Unbounded, limit.Unbounded),
	row("ConnectionsPerAddressMax", func(c *Config) any { return &c.ConnectionsPerAddressMax }, 1024, 1, limit.Unbounded, limit.Unbounded),
	row("AcceptsPerAddressPerSecond", func(c *Config) any { return &c.AcceptsPerAddressPerSecond }, 256, 1, limit.Unbounded, limit.Unbounded),
	row("ControlFramesPerSecond", func(c *Config) any { return &c.ControlFramesPerSecond }, 1000, 1, limit.Unbounded, limit.Unbounded),
	row("MessagesPerSecond", func(c *Config) any { return &c.MessagesPerSecond }, limit.Unbounded, 1, limit.Unbounded, limit.Unbounded),
	row("BytesPerSecond", func(c *Config) any { return &c.BytesPerSecond }, limit.Unbounded, 1024, limit.Unbounded, limit.Unbounded),
	row("LifetimeMax", func(c *Config) any { return &c.LifetimeMax }, limit.Never, 10*ms, 365*day, limit.Never),
	row("BufferBytesMax", func(c *Config) any { return &c.BufferBytesMax }, gib, mib, limit.Unbounded<<20, limit.Unbounded<<20),
	row("MessageBytesMax", func(c *Config) any { return &c.MessageBytesMax }, 16*mib, 1, limit.Unbounded, limit.Unbounded),
	row("FragmentsMax", func(c *Config) any { return &c.FragmentsMax }, 128*kib, 1, limit.Unbounded, limit.Unbounded),
	row("PacketBytesMax", func(c *Config) any { return &c.PacketBytesMax }, 64*kib, 1, 64*kib, 0),
	row("NotSentBytesMax", func(c *Config) any { return &c.NotSentBytesMax }, 64*kib, kib, gib, limit.Unbounded),
	row("SendBytesHigh", func(c *Config) any { return &c.SendBytesHigh }, mib, 1, limit.Unbounded, limit.Unbounded),
	row("SendBytesLow", func(c *Config) any { return &c.SendBytesLow }, 0, 1, limit.Unbounded, 0),
	row("SendBytesMax", func(c *Config) any { return &c.SendBytesMax }, 4*mib, 1, limit.Unbounded, limit.Unbounded),
	row("DeflateLevel", func(c *Config) any { return &c.DeflateLevel }, 3, 1, 9, 0),
	row("DeflateThresholdBytes", func(c *Config) any { return &c.DeflateThresholdBytes }, 256, 1, mib, limit.Unbounded),
	row("DeflateWindowBits", func(c *Config) any { return &c.DeflateWindowBits }, 12, 9, 15, 0),
	row("DeflateTakeoverBytes", func(c *Config) any { return &c.DeflateTakeoverBytes }, 64*mib, kib, limit.Unbounded, limit.Unbounded),
	row("WriteStallTimeout", func(c *Config) any { return &c.WriteStallTimeout }, 30*sec, 10*ms, day, limit.Never),
	row("PingInterval", func(c *Config) any { return &c.PingInterval }, 25*sec, 10*ms, day, limit.Never),
	row("PongTimeout", func(c *Config) any { return &c.PongTimeout }, 20*sec, 10*ms, day, limit.Never),
	row("KeepAliveInterval", func(c *Config) any { return &c.KeepAliveInterval }, 30*sec, sec, 9*3600*sec, limit.Never),
	row("IdleTimeout", func(c *Config) any { return &c.IdleTimeout }, limit.Never, 10*ms, day, limit.Never),
	row("CloseTimeout", func(c *Config) any { return &c.CloseTimeout }, 5*sec, ms, day, limit.Never),
	row("DiscardTimeout", func(c *Config) any { return &c.DiscardTimeout }, 30*sec, ms, day, limit.Never),
	row("DrainTimeout", func(c *Config) any { return &c.DrainTimeout }, 10*sec, ms, day, limit.Never),
	row("TopicsPerConnectionMax", func(c *Config) any { return &c.TopicsPerConnectionMax }, kib, 1, limit.Unbounded, limit.Unbounded),
	row("DialsMax", func(c *Config) any { return &c.DialsMax }, 64, 1, 10_000, 0),
	row("UpgradesMax", func(c *Config) any { return &c.UpgradesMax }, 256, 1, 1_000_000, limit.Unbounded),
	row("OffloadMax", func(c *Config) any { return &c.OffloadMax }, 256, 1, 1_000_000, limit.Unbounded),
	row("CallbackWarnAfter", func(c *Config) any { return &c.CallbackWarnAfter }, 100*ms, ms, day, limit.Never),
	row("LoopHeldMax", func(c *Config) any { return &c.LoopHeldMax }, 10*sec, 10*ms, day, limit.Never),
	row("HTTPHeaderTimeout", func(c *Config) any { return &c.HTTPHeaderTimeout }, 10*sec, ms, day, limit.Never),
	row("HTTPIdleTimeout", func(c *Config) any { return &c.HTTPIdleTimeout }, 60*sec, ms, day, limit.Never),
	row("HTTPStallTimeout", func(c *Config) any { return &c.HTTPStallTimeout }, 30*sec, 10*ms, day, limit.Never),
	row("TLSHandshakesMax", func(c *Config) any { return &c.TLSHandshakesMax }, 8192, 1, 1_000_000, limit.Unbounded),
	row("ConnectionsMax", func(c *Config) any { return &c.ConnectionsMax }, 0, 1, limit.Unbounded, limit.Unbounded),
}

// scope says for whom a bound holds that is not simply a listener's, with that of
// New as the default.
type scope uint8

const (
	ofEngine scope = iota + 1 // for all listeners together: only New may set it
	ofBoth                    // for the listener, beside that of New
	together                  // if one of them is set, the defaults of the others fit it
)

var scopes = map[string]scope{
	"Loops": ofEngine, "BufferBytesMax": ofEngine, "DrainTimeout": ofEngine, "CallbackWarnAfter": ofEngine, "LoopHeldMax": ofEngine,
	"DeflateLevel": ofEngine, "DeflateThresholdBytes": ofEngine, "DeflateWindowBits": ofEngine, "DeflateTakeoverBytes": ofEngine,
	"DialsMax": ofEngine, "UpgradesMax": ofEngine, "OffloadMax": ofEngine,
	"TLSHandshakesMax": ofEngine,
	"ConnectionsMax":   ofBoth, "HalfOpenMax": ofBoth, "ConnectionsPerAddressMax": ofBoth, "AcceptsPerAddressPerSecond": ofBoth,
	"SendBytesHigh": together, "SendBytesLow": together, "SendBytesMax": together,
}

// settle fills in the defaults and checks the ranges. base is the Config of New
// if c is of Engine.Listen, else nil.
func (c *Config) settle(base *Config) error {
	descriptors, err := loop.Descriptors()
	if err != nil {
		return fmt.Errorf("engine: reading the descriptor limit: %w", err)
	}
	ownSendBytes := c.SendBytesHigh != 0 || c.SendBytesLow != 0 || c.SendBytesMax != 0
	for _, l := range limits {
		field := l.field(c)
		switch unset, of := limit.IsZero(field), scopes[l.Name]; {
		case base == nil, of == together && ownSendBytes:
		case of == ofEngine && !unset:
			return ofEngineError(l.Name)
		case of == ofBoth && unset: // no bound of its own
			continue
		case unset:
			limit.Copy(field, l.field(base))
			continue
		}
		l.Default = c.defaultOf(l, descriptors)
		if err := l.Settle("engine", "Config", field); err != nil {
			return err
		}
	}
	return c.check()
}

func ofEngineError(field string) error {
	return fmt.Errorf("engine: Config.%s belongs to the whole engine: set it for New, and leave it out for Engine.Listen", field)
}

// defaultOf is the default of a bound, which may follow from the machine, or from
// what c says elsewhere.
func (c *Config) defaultOf(l bound, descriptors int) int64 {
	switch l.Name {
	case "Loops":
		return int64(min(runtime.GOMAXPROCS(0), loop.LoopsMax))
	case "SendBytesHigh": // it has to fit the other two, as the program set them
		high := l.Default
		if c.SendBytesMax > 0 {
			high = min(high, int64(max(c.SendBytesMax/4, 1)))
		}
		return max(high, int64(min(c.SendBytesLow, limit.Unbounded)))
	case "SendBytesLow":
		return int64(max(c.SendBytesHigh/4, 1))
	case "SendBytesMax":
		if c.SendBytesHigh < limit.Unbounded {
			return min(max(l.Default, 4*int64(c.SendBytesHigh)), limit.Unbounded)
		}
	case "ConnectionsMax":
		return int64(max(descriptors-reserve(descriptors), 1))
	}
	return l.Default
}

// reserve is how many descriptors are left to the rest of the program: to its
// listeners, files and loops, and to connections on their way into a loop,
// which own two for a moment.
func reserve(descriptors int) int { return 128 + descriptors/50 }
