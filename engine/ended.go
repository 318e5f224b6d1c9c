package engine

import (
	"errors"
	"slices"
	"strconv"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// How handshakes and connections end, as they are counted: see Metrics.Handshakes
// and Metrics.ClosedBy.

var handshakeResults = [...]string{"gone", "open", "http", "origin", "400", "401", "403", "404", "405", "408", "413", "426", "429", "431", "500", "501", "502", "503", "505", "other"}

// Those of handshakeResults that are no status.
const (
	handshakeGone = iota
	handshakeOpen
	handshakeHTTP
	handshakeOrigin
)

var otherStatus = uint8(slices.Index(handshakeResults[:], "other"))

// answerOf is the place of a status in handshakeResults.
func answerOf(status int) uint8 {
	if at := slices.Index(handshakeResults[:], strconv.Itoa(status)); at >= 0 {
		return uint8(at)
	}
	return otherStatus
}

// noteRefusal notes what the client was told, if the handshake of the connection ends
// with err.
func (c *Conn) noteRefusal(err error) {
	var refused *codec.HandshakeError
	if c.end.phase.Load() == phaseOpening && c.end.answer == handshakeGone && errors.As(err, &refused) {
		c.end.answer = answerOf(refused.Status)
	}
}

// noteAnswered counts a handshake that is over; phase is what follows.
func (c *Conn) noteAnswered(phase uint32) {
	c.lane().answered.add(1)
	switch {
	case c.origin == dialled:
	case phase == phaseOpen:
		c.w.stats.handshakes[handshakeOpen].add(1)
	default:
		c.w.stats.handshakes[c.end.answer].add(1)
	}
}

// The codes of closeKinds: each of 1000 to 1015, and these.
const (
	codesOfLibraries = 16 + iota
	codesOfPrograms
	codesOfNobody
	noCode // it had not been open
	codeClasses
)

// By whom a connection was closed.
const (
	byPeer = iota
	byServer
	byCut
	closers
)

const closeKinds = codeClasses * closers

var closerNames = [closers]string{"peer", "server", "cut"}

// closeKind is the place of an end in loopStats.closes. info is what the session ended
// with, closing what this side gave to close.
func closeKind(info, closing *CloseError, opened bool) uint8 {
	by := byServer
	var refused *codec.HandshakeError
	switch {
	case !opened && info != nil && errors.As(info.Err, &refused):
	case info != nil && info.Code == protocol.CloseAbnormal && !info.Remote:
		by = byCut
	case info != nil && info.Remote && closing == nil:
		by = byPeer
	}
	if closing != nil {
		info = closing
	}
	class := noCode
	if opened {
		class = codeClass(info.Code)
	}
	return uint8(class*closers + by)
}

func codeClass(code protocol.CloseCode) int {
	switch {
	case code >= 1000 && code <= 1015:
		return int(code - 1000)
	case code >= 3000 && code < 4000:
		return codesOfLibraries
	case code >= 4000 && code < 5000:
		return codesOfPrograms
	}
	return codesOfNobody
}

func codeName(class int) string {
	switch class {
	case codesOfLibraries:
		return "3xxx"
	case codesOfPrograms:
		return "4xxx"
	case codesOfNobody:
		return "other"
	case noCode:
		return "none"
	}
	return strconv.Itoa(1000 + class)
}
