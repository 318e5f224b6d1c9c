package nats

import (
	"errors"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// record is what a message on a subject of a channel says: a publication, or that the history was removed.
type record struct {
	broker.Publication               // without a position: that is in the headers of the message, or of the stream
	Lifetime           time.Duration // broker.Keep.Lifetime; 0: as long as the stream keeps it
	Removed            bool          // the history was removed; there is no publication
	Stands             uint64        // with Removed: the offset that the channel had, which is still its newest position
}

var errForeign = errors.New("nats: not a message of this program")

// encode appends a record to buf.
func (r *record) encode(buf []byte) []byte { return buf }

// decode reads a record. The record points into data. It fails with errForeign.
func (r *record) decode(data []byte) error { return errForeign }
