// Command hub is a hub server with a page: channels that one follows, who is here, and a counter that proves
// that nothing is lost when a connection is cut.
//
//	go run ./examples/hub [-listen ws://127.0.0.1:8100] [-secret S] [-api-key K] [-admin 127.0.0.1:8101]
//
// The SDKs for the Centrifugal protocol connect to /connection/websocket, backends post to /api/METHOD, and load balancers ask
// /healthz and /readyz, all on one port. The address of -admin has a page for operators, and /metrics. It ends on SIGINT or SIGTERM, after telling every client to come
// back. The program itself is in package app, which examples/cluster has too.
package main

import "github.com/sockmill/sockmill/examples/hub/app"

func main() {
	app.Main("hub", nil)
}
