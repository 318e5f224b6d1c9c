package protocol_test

import (
	"fmt"
	"strings"

	"github.com/sockmill/sockmill/protocol"
)

// The server's side of an opening handshake.
func ExampleAppendSwitchingProtocols() {
	head := "GET /chat HTTP/1.1\r\nHost: localhost:8090\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	var r protocol.Request
	if err := r.Parse(head, 100); err != nil {
		panic(err)
	}
	if err := protocol.CheckUpgrade(&r); err != nil {
		panic(err)
	}
	reply := protocol.AppendSwitchingProtocols(nil, r.Fields.Get("Sec-WebSocket-Key"), "", "", nil)
	fmt.Print(strings.ReplaceAll(strings.TrimSpace(string(reply)), "\r\n", "\n"))
	// Output:
	// HTTP/1.1 101 Switching Protocols
	// Upgrade: websocket
	// Connection: Upgrade
	// Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
}
