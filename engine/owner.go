package engine

import (
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/wheel"
)

// owner is a Conn as its socket and its timers know it: what they call is no
// part of the public Conn.
type owner Conn

// Opened, Readable and Closed implement loop.Owner.
func (o *owner) Opened(l *loop.Loop) { (*Conn)(o).enrolled(l) }
func (o *owner) Readable(b []byte)   { (*Conn)(o).readable(b) }
func (o *owner) Closed(err error)    { (*Conn)(o).gone(err) }

// Expire implements wheel.Expirer.
func (o *owner) Expire(t *wheel.Timer) { (*Conn)(o).expire(t) }
