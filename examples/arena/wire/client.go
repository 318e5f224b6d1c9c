package wire

// Client is any message of a client; Kind says which fields count.
type Client struct {
	Kind  byte
	Hello Hello
	Input Input
	Clock float64 // of a ping: whatever the client likes
}

// Hello is a client's first message. Name and Token lie in the message that
// was parsed.
type Hello struct {
	Version uint8
	Name    []byte
	Token   []byte // of an earlier welcome, or empty
}

// Input is what a player wants: a direction, its length the throttle, and
// whether to split or to eject. Nothing of it is checked here: the vector may
// be NaN.
type Input struct {
	Seq    uint32
	DX, DY float32
	Flags  uint8
}

// Parse reads a message of a client. It keeps no reference but Name and Token,
// and allocates nothing.
func (m *Client) Parse(b []byte) error {
	*m = Client{}
	r := reader{b: b}
	switch m.Kind = r.u8(); {
	case r.err != nil:
	case m.Kind == KindHello:
		m.Hello.Version = r.u8()
		m.Hello.Name = r.take(int(r.u8()))
		m.Hello.Token = r.token()
	case m.Kind == KindInput:
		m.Input = Input{Seq: r.u32(), DX: r.f32(), DY: r.f32(), Flags: r.u8()}
	case m.Kind == KindPing:
		m.Clock = r.f64()
	case m.Kind == KindRespawn:
	default:
		return ErrUnknown
	}
	return r.end()
}

// AppendHello appends a hello. A name is cut at 255 bytes.
func AppendHello(b []byte, h Hello) []byte {
	return appendToken(appendStr(append(b, KindHello, h.Version), h.Name), h.Token)
}

// AppendInput appends an input.
func AppendInput(b []byte, in Input) []byte {
	b = order.AppendUint32(append(b, KindInput), in.Seq)
	return append(appendF32(appendF32(b, in.DX), in.DY), in.Flags)
}

// AppendPing appends a ping, which the server answers with the same clock.
func AppendPing(b []byte, clock float64) []byte { return appendF64(append(b, KindPing), clock) }

// AppendRespawn appends the wish to live again.
func AppendRespawn(b []byte) []byte { return append(b, KindRespawn) }
