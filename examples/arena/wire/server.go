package wire

// Flags of a Welcome.
const (
	Resumed = 1 << iota // the player goes on with what it had
	Resized             // the world has another size from now on; the next snapshot is a keyframe
)

// Welcome answers a hello, and comes again when the world is resized.
type Welcome struct {
	Version uint8
	Player  uint32
	World   float32 // units on a side
	Period  uint16  // of a tick, in 100 µs
	Grace   uint16  // seconds for which a lost player's cells wait
	Flags   uint8
	Token   []byte // for the hello of the next connection
}

// AppendWelcome appends a welcome.
func AppendWelcome(b []byte, w Welcome) []byte {
	b = order.AppendUint32(append(b, KindWelcome, w.Version), w.Player)
	b = order.AppendUint16(appendF32(b, w.World), w.Period)
	return appendToken(append(order.AppendUint16(b, w.Grace), w.Flags), w.Token)
}

// Parse reads a welcome; Token lies in b.
func (w *Welcome) Parse(b []byte) error {
	r := open(b, KindWelcome)
	*w = Welcome{Version: r.u8(), Player: r.u32(), World: r.f32(), Period: r.u16(), Grace: r.u16(), Flags: r.u8(), Token: r.token()}
	return r.end()
}

// open begins to read a message of the server.
func open(b []byte, kind byte) *reader {
	r := &reader{b: b}
	if r.u8() != kind && r.err == nil {
		r.fail(ErrUnknown)
	}
	return r
}

// Pong answers a ping.
type Pong struct {
	Clock  float64 // the ping's
	UnixMs float64 // the server's time, in milliseconds since 1970
}

// AppendPong appends a pong.
func AppendPong(b []byte, p Pong) []byte {
	return appendF64(appendF64(append(b, KindPong), p.Clock), p.UnixMs)
}

// Parse reads a pong.
func (p *Pong) Parse(b []byte) error {
	r := open(b, KindPong)
	*p = Pong{r.f64(), r.f64()}
	return r.end()
}

// Board tells once a second who leads, and where the largest are.
type Board struct {
	Players uint16
	Leaders []Leader // in order
	Rank    uint16   // the player's own, from 1; 0: it has none
	Mass    uint32   // the player's own
	Dots    []Dot
}

// Leader is a line of the board.
type Leader struct {
	Player, Mass uint32
	Name         string
}

// Dot is one of the largest players on the minimap: position*255/size.
type Dot struct{ X, Y, Size uint8 }

// AppendBoard appends a board of at most 255 leaders and dots.
func AppendBoard(b []byte, o Board) []byte {
	return AppendDots(AppendStanding(AppendLeaders(b, o.Players, o.Leaders), o.Rank, o.Mass), o.Dots)
}

// AppendLeaders begins a board; AppendStanding goes on, and AppendDots ends it.
// Only the second differs from player to player.
func AppendLeaders(b []byte, players uint16, leaders []Leader) []byte {
	b = append(order.AppendUint16(append(b, KindBoard), players), byte(len(leaders)))
	for _, l := range leaders {
		b = appendStr(order.AppendUint32(order.AppendUint32(b, l.Player), l.Mass), l.Name)
	}
	return b
}

// AppendStanding goes on with a board: see AppendLeaders.
func AppendStanding(b []byte, rank uint16, mass uint32) []byte {
	return order.AppendUint32(order.AppendUint16(b, rank), mass)
}

// AppendDots ends a board: see AppendLeaders.
func AppendDots(b []byte, dots []Dot) []byte {
	b = append(b, byte(len(dots)))
	for _, d := range dots {
		b = append(b, d.X, d.Y, d.Size)
	}
	return b
}

// Parse reads a board into the slices that o has.
func (o *Board) Parse(b []byte) error {
	r := open(b, KindBoard)
	o.Players, o.Leaders, o.Dots = r.u16(), o.Leaders[:0], o.Dots[:0]
	for n := r.u8(); n > 0 && r.err == nil; n-- {
		o.Leaders = append(o.Leaders, Leader{r.u32(), r.u32(), r.str()})
	}
	o.Rank, o.Mass = r.u16(), r.u32()
	for n := r.u8(); n > 0 && r.err == nil; n-- {
		o.Dots = append(o.Dots, Dot{r.u8(), r.u8(), r.u8()})
	}
	return r.end()
}

// Died tells a player that its last cell was eaten.
type Died struct {
	By     uint32 // player
	ByName string
	Mass   uint32 // the most it had
	Ticks  uint32 // it lived
}

// AppendDied appends a died.
func AppendDied(b []byte, d Died) []byte {
	b = appendStr(order.AppendUint32(append(b, KindDied), d.By), d.ByName)
	return order.AppendUint32(order.AppendUint32(b, d.Mass), d.Ticks)
}

// Parse reads a died.
func (d *Died) Parse(b []byte) error {
	r := open(b, KindDied)
	*d = Died{r.u32(), r.str(), r.u32(), r.u32()}
	return r.end()
}
