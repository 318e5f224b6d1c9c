package polling

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// fields are what a browser sends along with a request of a script.
var fields = []protocol.Field{
	{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"},
	{Name: "Accept-Encoding", Value: "gzip, deflate, br, zstd"},
	{Name: "Accept-Language", Value: "en-GB,en;q=0.9,de;q=0.8"},
	{Name: "Cookie", Value: "session=3f0c9a4be1d24b53b7c6d5a2f7e8c1d0; theme=dark; seen=1719848400"},
}

// follow reads what is said until the context ends. phase, below 1, is where in its
// second an ajax reader polls. It calls ready once it would not miss a message.
func (d *reader) follow(ctx context.Context, phase float64, ready func()) error {
	defer ready()
	if d.way.name == WebSocket {
		return d.listen(ctx, ready)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableCompression: true, // the field is ours
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			return counted{c, &d.way.bytes}, err
		},
	}}
	defer client.CloseIdleConnections()
	ready()
	if d.way.name == Ajax && !wait(ctx, time.Duration(phase*float64(time.Second))) {
		return nil
	}
	for {
		began := time.Now()
		if err := d.poll(ctx, client); err != nil {
			return err
		}
		if d.way.name == Ajax && !wait(ctx, time.Until(began.Add(time.Second))) {
			return nil
		}
	}
}

// poll is one request.
func (d *reader) poll(ctx context.Context, client *http.Client) error {
	path := "poll"
	if d.way.name == Long {
		path = "wait"
	}
	url := fmt.Sprintf("http://%s/%s?after=%d", d.addr, path, d.last)
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	q.Header.Set("Accept", "*/*")
	q.Header.Set("Referer", "http://"+d.addr+"/")
	for _, f := range fields {
		q.Header.Set(f.Name, f.Value)
	}
	d.way.requests.Add(1)
	a, err := client.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, a.Status)
	}
	var news []message
	if err := json.NewDecoder(a.Body).Decode(&news); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, a.Body); err != nil { // or the connection is not kept
		return err
	}
	return d.take(news...)
}

// listen is the reader with a WebSocket.
func (d *reader) listen(ctx context.Context, ready func()) error {
	tcp, err := net.Dial("tcp", d.addr)
	if err != nil {
		return err
	}
	defer tcp.Close()
	defer context.AfterFunc(ctx, func() { _ = tcp.Close() })()
	c := counted{tcp, &d.way.bytes}
	const key = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455 §1.3
	d.way.requests.Add(1)
	extra := append([]protocol.Field{{Name: "Origin", Value: "http://" + d.addr}}, fields...)
	if _, err := c.Write(protocol.AppendRequest(nil, d.addr, "/", key, nil, "", extra)); err != nil {
		return err
	}
	in := bufio.NewReader(c)
	a, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	_ = a.Body.Close() // it has none
	if a.StatusCode != http.StatusSwitchingProtocols || a.Header.Get("Sec-WebSocket-Accept") != protocol.AcceptKey(key) {
		return fmt.Errorf("the handshake is answered with %s, %v", a.Status, a.Header)
	}
	ready()
	for {
		opcode, payload, err := frame(in)
		if err != nil {
			return err
		}
		if opcode == protocol.OpPing { // it has been silent
			pong := protocol.Header{Fin: true, Opcode: protocol.OpPong, Masked: true, Length: int64(len(payload))}
			if _, err := c.Write(append(protocol.AppendHeader(nil, pong), payload...)); err != nil {
				return err
			}
			continue
		}
		var m message
		if err := json.Unmarshal(payload, &m); err != nil {
			return err
		}
		if err := d.take(m); err != nil {
			return err
		}
	}
}

// frame reads one frame, which is whole.
func frame(in *bufio.Reader) (protocol.Opcode, []byte, error) {
	b := make([]byte, 0, protocol.HeaderBytesMax)
	for {
		h, n, err := protocol.ParseHeader(b)
		if err != nil {
			return 0, nil, err
		}
		if n == 0 {
			next, err := in.ReadByte()
			if err != nil {
				return 0, nil, err
			}
			b = append(b, next)
			continue
		}
		if h.Opcode != protocol.OpText && h.Opcode != protocol.OpPing || !h.Fin || h.Length > 1<<20 {
			return 0, nil, fmt.Errorf("the frame is %+v, want text or a ping", h)
		}
		payload := make([]byte, h.Length)
		_, err = io.ReadFull(in, payload)
		return h.Opcode, payload, err
	}
}
