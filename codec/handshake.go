package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/sockmill/sockmill/protocol"
)

// Accept is what the program adds to the answer to an opening handshake.
type Accept struct {
	Subprotocol string           // "" or one of those that the client offered
	Fields      []protocol.Field // more response fields
}

// gather returns the head at the front of the input, "" as long as it is not
// complete, and how many bytes of in it took. An unfinished head is kept in a
// pooled buffer and never scanned twice.
func (s *Session) gather(env *Env, in []byte) (head string, n int, err error) {
	room, from, b := s.opts.HandshakeBytesMax, 0, in
	p := s.part
	before := 0
	if p != nil && p.head != nil {
		before, from = len(p.head), p.scanned
		take := min(len(in), room-before)
		p.head = append(env.Buffers.Grow(p.head, take), in[:take]...)
		b = p.head
	}
	b = b[:min(len(b), room)]
	end, next, err := protocol.ScanHead(b, from)
	switch {
	case err != nil:
		return "", len(in), err
	case end > 0:
		return env.text(b[:end]), end - before, nil
	case len(b) == room:
		return "", len(in), &HandshakeError{
			Status: 431,
			Reason: fmt.Sprintf("the head exceeds %d bytes", room),
		}
	}
	if p = s.begin(env); p.head == nil && len(b) > 0 {
		p.head = append(env.Buffers.Get(len(b)), b...)
	}
	p.scanned = next
	return "", len(in), nil
}

// text makes a string of a head: where the last one was, unless somebody may
// have kept parts of that.
func (e *Env) text(b []byte) string {
	if e.Shown {
		e.head, e.Shown = nil, false
	}
	e.head = append(e.head[:0], b...)
	return unsafe.String(unsafe.SliceData(e.head), len(e.head))
}

// openServer decodes in the state Opening: the client's opening handshake
// (RFC 6455 §4.2.1).
func (s *Session) openServer(env *Env, in []byte) (Event, int) {
	if len(in) == 0 {
		return Event{}, 0
	}
	head, n, err := s.gather(env, in)
	if err == nil && head == "" {
		return Event{}, n
	}
	if err == nil {
		err = env.Request.Parse(head, s.opts.HeaderFieldsMax)
	}
	s.bodiless = err == nil && env.Request.Method == "HEAD"
	if err == nil && !env.Request.Upgrade() {
		return Event{Kind: HTTP, Data: env.head}, n
	}
	if err == nil {
		err = protocol.CheckUpgrade(&env.Request)
	}
	if err != nil {
		var refusal *HandshakeError
		if !errors.As(err, &refusal) {
			panic("codec: a handshake refused without a status: " + err.Error())
		}
		s.Refuse(env, refusal)
		env.Closed = &CloseError{Code: protocol.CloseAbnormal, Err: refusal}
		return Event{Kind: Close}, len(in)
	}
	return Event{Kind: Request, Data: env.head}, n
}

// Accept appends the 101 response to the request in env.Request and opens the
// session (RFC 6455 §4.2.2).
func (s *Session) Accept(env *Env, a Accept) error {
	if !env.Request.Upgrade() {
		return errors.New("codec: a request that is no opening handshake cannot be accepted")
	}
	if a.Subprotocol != "" && !slices.Contains(slices.Collect(env.Request.Fields.Tokens("Sec-WebSocket-Protocol")), a.Subprotocol) {
		return fmt.Errorf("codec: the subprotocol %q is none that the client offered", a.Subprotocol)
	}
	for _, f := range a.Fields {
		if !protocol.ValidField(f) {
			return fmt.Errorf("codec: the response field %q has a malformed name or value", f.Name)
		}
		if protocol.HandshakeField(f.Name) {
			return fmt.Errorf("codec: the response field %q belongs to the handshake", f.Name)
		}
	}
	s.to(env, StateOpen) // first: if it panics, nothing was said
	s.drop(env)
	extensions := s.acceptDeflate(env.Request.Extensions)
	if env.Request.Expects100() {
		env.Out = append(env.Out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	env.Out = protocol.AppendSwitchingProtocols(env.Out, env.Request.Fields.Get("Sec-WebSocket-Key"), a.Subprotocol, extensions, a.Fields)
	return nil
}

// Refuse appends an HTTP error in place of the 101.
func (s *Session) Refuse(env *Env, e *HandshakeError) {
	if s.state != StateOpening { // successors cannot tell: Open may become Closed, but not by HTTP
		panic("codec: a handshake that is over cannot be refused")
	}
	env.Out = protocol.AppendReply(env.Out, e.Status, e.Reason, e.Fields)
	if s.bodiless { // RFC 9110 §9.3.2
		env.Out = env.Out[:len(env.Out)-len(e.Reason)]
	}
	s.to(env, StateClosed)
}

// startClient appends the opening handshake with a fresh nonce (RFC 6455 §4.1).
func (s *Session) startClient(env *Env) {
	var nonce [16]byte
	binary.LittleEndian.PutUint64(nonce[:8], env.Random())
	binary.LittleEndian.PutUint64(nonce[8:], env.Random())
	p := s.begin(env)
	p.key = base64.StdEncoding.EncodeToString(nonce[:])
	env.Out = protocol.AppendRequest(env.Out, s.opts.Host, s.opts.Target, p.key, s.opts.Subprotocols, s.startDeflate(), s.opts.Fields)
}

// interimMax is how many interim responses a server may send before its answer.
const interimMax = 8

// openClient decodes in the state Opening: the server's answer.
func (s *Session) openClient(env *Env, in []byte) (Event, int) {
	if s.part != nil && s.part.refusal != nil {
		return s.refused(env, in), len(in)
	}
	r := &env.Response
	n, ok, err := s.gatherResponse(env, in)
	if err == nil && !ok {
		return Event{}, n
	}
	env.Shown = true // the program may ask for it
	if err == nil {
		if err = protocol.CheckResponse(r, s.part.key, s.opts.Subprotocols); r.Status != 101 && errors.As(err, &s.part.refusal) {
			s.forgetHead(env)
			if to := r.Fields.Get("Location"); to != "" {
				s.part.refusal.Reason += fmt.Sprintf(", it redirects to %.200q", to)
			}
			s.part.body = bodyOf(r)
			return s.refused(env, in[n:]), len(in)
		}
	}
	if err == nil {
		var answers []protocol.Extension
		if answers, err = protocol.ParseExtensions(r.Fields); err != nil {
			err = &HandshakeError{Status: 502, Reason: "the server chose malformed extensions"}
		} else {
			err = s.openDeflate(answers)
		}
	}
	if err != nil {
		s.to(env, StateClosed)
		env.Closed = &CloseError{Code: protocol.CloseAbnormal, Err: err}
		return Event{Kind: Close}, len(in)
	}
	s.drop(env)
	s.to(env, StateOpen)
	return Event{Kind: Open}, n
}

// gatherResponse reads heads to env.Response until one is final, past interim
// responses such as 100 and 103 (RFC 9110 §15.2). ok is false as long as that has
// not come; n is how many bytes of in it took. Whatever is wrong with what the
// server sends is 502.
func (s *Session) gatherResponse(env *Env, in []byte) (n int, ok bool, err error) {
	for r, p := &env.Response, s.part; n < len(in); {
		seen := in[n:]
		head, took, err := s.gather(env, seen)
		if p.head != nil {
			seen = p.head
		}
		n += took
		switch {
		case !beginsHTTP(seen[:min(len(seen), s.opts.HandshakeBytesMax)]):
			err = &HandshakeError{Reason: "the server does not speak HTTP"}
			if seen[0] == 21 { // an alert (RFC 8446 §5.1)
				err = &HandshakeError{Reason: "the server speaks TLS: use wss://"}
			}
		case err != nil:
		case head == "":
			return n, false, nil
		default:
			err = r.Parse(head, s.opts.HeaderFieldsMax)
		}
		if err == nil && (r.Status == 101 || r.Status >= 200) {
			return n, true, nil
		}
		if p.interims++; err == nil && p.interims > interimMax {
			err = &HandshakeError{Reason: fmt.Sprintf("the server sent more than %d interim responses", interimMax)}
		}
		var refusal *HandshakeError
		if errors.As(err, &refusal) {
			return n, false, &HandshakeError{Status: 502, Reason: refusal.Reason}
		}
		s.forgetHead(env)
	}
	return n, false, nil
}

// forgetHead gives back the buffer of a head that is over.
func (s *Session) forgetHead(env *Env) {
	if p := s.part; p.head != nil {
		env.Buffers.Put(p.head)
		p.head, p.scanned = nil, 0
	}
}

// refusalBytesMax is how much of the body of a refusal its error shows.
const refusalBytesMax = 256

// bodyOf is how much of the body of a refusal to wait for: 0 if it has none, or if
// nothing says where it ends (RFC 9112 §6.3).
func bodyOf(r *protocol.Response) int {
	f := r.Fields
	switch n, err := strconv.ParseInt(f.Get("Content-Length"), 10, 64); {
	case r.Status == 204 || r.Status == 304 || f.Count("Transfer-Encoding") > 0:
		return 0
	case err == nil:
		return int(min(n, refusalBytesMax))
	case r.Minor < 1 || f.HasToken("Connection", "close"): // it ends with the stream
		return refusalBytesMax
	}
	return 0
}

// refused gathers the body of a refusal, which says why: the head may say only that
// this is no WebSocket. It ends the session when that is there.
func (s *Session) refused(env *Env, in []byte) Event {
	p := s.part
	if in = in[:min(len(in), p.body-len(p.head))]; len(in) > 0 {
		if p.head == nil {
			p.head = env.Buffers.Get(len(in))
		}
		p.head = append(env.Buffers.Grow(p.head, len(in)), in...)
	}
	if len(p.head) < p.body {
		return Event{}
	}
	env.Closed = &CloseError{Code: protocol.CloseAbnormal, Err: s.Refusal()}
	s.to(env, StateClosed)
	return Event{Kind: Close}
}

// Refusal is what the server has said in place of a 101, while the rest of its
// body is awaited; else nil. The connection of a client may end before that comes.
func (s *Session) Refusal() *HandshakeError {
	if s.part == nil || s.part.refusal == nil {
		return nil
	}
	e := *s.part.refusal
	if text := strings.Join(strings.Fields(strings.ToValidUTF8(string(s.part.head), "")), " "); text != "" {
		e.Reason += fmt.Sprintf(": %q", text)
	}
	return &e
}

// beginsHTTP reports whether head is, or may become, that of a response. What is
// wrong further on must not be reported before: it may not have come yet.
func beginsHTTP(head []byte) bool {
	const name = "HTTP/"
	for bytes.HasPrefix(head, []byte("\r\n")) {
		head = head[2:]
	}
	n := min(len(head), len(name))
	return string(head[:n]) == name[:n] || string(head) == "\r"
}
