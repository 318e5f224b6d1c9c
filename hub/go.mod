module github.com/sockmill/sockmill/hub

go 1.25

replace github.com/sockmill/sockmill => ../
