// Package logs bounds what the packages of this project log, and says what a nil
// Logger stands for.
package logs

import (
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Default is what a nil Logger stands for: warnings and errors go to standard
// error, one line each, as those of net/http do.
func Default() *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder.EncodeLevel = zapcore.CapitalLevelEncoder
	encoder.EncodeDuration = zapcore.StringDurationEncoder
	encoder.ConsoleSeparator = " "
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), zapcore.Lock(os.Stderr), zap.WarnLevel))
}

// Bounded returns a logger that writes of each message, at each level, at most
// BurstMax lines at once and then PerSecond in a second. The next line
// that is written says in its field LeftOut how many were left out before it. A
// nil log is Default. A logger that is bounded already is returned as it is.
func Bounded(log *zap.Logger) *zap.Logger {
	if log == nil {
		log = Default()
	}
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		if _, ok := core.(bounded); ok {
			return core
		}
		return bounded{core, "", &rates{of: map[kind]*rate{}}}
	}))
}

// Kind returns a logger whose lines are counted together, whatever their
// message, and apart from those of other kinds. log is a logger of Bounded. The
// kinds of a program must be few: see kindsMax.
func Kind(log *zap.Logger, name string) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		if b, ok := core.(bounded); ok {
			b.name = name
			return b
		}
		return core
	}))
}

// bounded is the core of a logger of Bounded.
type bounded struct {
	zapcore.Core
	name  string // of the kind; "": each message is a kind
	rates *rates
}

// With implements zapcore.Core.
func (b bounded) With(fields []zapcore.Field) zapcore.Core {
	b.Core = b.Core.With(fields)
	return b
}

// Check implements zapcore.Core. zap asks it before it looks for the caller and the stack, so a line
// that is left out costs little.
func (b bounded) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !b.Enabled(e.Level) {
		return to
	}
	k := kind{b.name, e.Level}
	if k.name == "" {
		k.name = e.Message
	}
	leftOut, ok := b.rates.take(k, e.Time)
	if !ok {
		return to
	}
	core := b.Core
	if leftOut > 0 {
		core = core.With([]zapcore.Field{zap.Uint64(LeftOut, leftOut)})
	}
	return core.Check(e, to)
}
