"""One frame of every channel of every venue and the kinds of events it gives, for the contract tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingest_daemon.events import Book, Quote, ReferencePrice, Trade
from ingest_daemon.venues import Listing

Example = tuple[bytes, tuple[type, ...]]


@dataclass(frozen=True)
class VenueExamples:
    """Frames are of the first symbol; `foreign` are replacements that make them another's."""

    symbols: dict[str, Listing]
    frames: dict[str, Example]
    acknowledgements: tuple[bytes, ...]
    refusal: bytes
    refusal_words: tuple[str, ...]
    foreign: dict[bytes, bytes] = field(default_factory=dict)
    foreign_name: str = "DOGE"
    shared: frozenset[str] = frozenset()  # channels whose frames another venue sends alike: nobody's

    def of_another_symbol(self, frame: bytes) -> bytes:
        """The frame, had it been another instrument's."""
        for ours, theirs in self.foreign.items():
            frame = frame.replace(ours, theirs)
        return frame


_SPOT: dict[str, Example] = {
    "trade": (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000002,"s":"BTCUSDT","t":77,'
        b'"p":"37000.10","q":"0.25","T":1700000000001,"m":true,"M":true}}',
        (Trade,),
    ),
    "aggTrade": (
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1700000000002,"s":"BTCUSDT","a":9,'
        b'"p":"37000.10","q":"0.75","f":75,"l":77,"T":1700000000001,"m":false,"M":true}}',
        (Trade,),
    ),
    "bookTicker": (
        b'{"stream":"btcusdt@bookTicker","data":{"u":400,"s":"BTCUSDT","b":"37000.00","B":"1.5",'
        b'"a":"37000.10","A":"2.5"}}',
        (Quote,),
    ),
    "depth20": (
        b'{"stream":"btcusdt@depth20@100ms","data":{"lastUpdateId":401,'
        b'"bids":[["37000.00","1.5"],["36999.00","3"]],"asks":[["37000.10","2.5"]]}}',
        (Book,),
    ),
    "depth": (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1700000000002,"s":"BTCUSDT",'
        b'"U":400,"u":401,"b":[["37000.00","1.5"]],"a":[["37001.00","0.0"]]}}',
        (),  # silent: there is no snapshot
    ),
}
_USDM: dict[str, Example] = {
    "trade": (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1700000000002,"T":1700000000001,"s":"BTCUSDT",'
        b'"t":77,"p":"37000.10","q":"0.25","X":"MARKET","m":true}}',
        (Trade,),
    ),
    "aggTrade": (
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1700000000002,"a":9,"s":"BTCUSDT",'
        b'"p":"37000.10","q":"0.75","f":75,"l":77,"T":1700000000001,"m":false}}',
        (Trade,),
    ),
    "bookTicker": (
        b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":400,"s":"BTCUSDT","b":"37000.00",'
        b'"B":"1.5","a":"37000.10","A":"2.5","T":1700000000001,"E":1700000000003}}',
        (Quote,),
    ),
    "depth20": (
        b'{"stream":"btcusdt@depth20@100ms","data":{"e":"depthUpdate","E":1700000000002,"T":1700000000001,'
        b'"s":"BTCUSDT","U":390,"u":401,"pu":388,"b":[["37000.0","1.5"]],"a":[["37000.1","2.5"]]}}',
        (Book,),
    ),
    "depth": (
        b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1700000000002,"T":1700000000001,'
        b'"s":"BTCUSDT","U":390,"u":401,"pu":388,"b":[["37000.0","1.5"]],"a":[["37001.0","0"]]}}',
        (),
    ),
    "markPrice": (
        b'{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1700000000000,"s":"BTCUSDT",'
        b'"p":"37001.5","P":"37000.0","i":"37000.9","r":"-0.00010000","T":1700006400000}}',
        (ReferencePrice,),
    ),
}


def _coin_margined(example: Example) -> Example:
    frame, kinds = example
    return frame.replace(b"btcusdt", b"btcusd_perp").replace(b"BTCUSDT", b"BTCUSD_PERP"), kinds


_OKX_LEVELS = b'"asks":[["38632.4","727","0","22"]],"bids":[["38632.3","990","0","22"]],"ts":"1651761120004"'
_OKX: dict[str, Example] = {
    "trades": (
        b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",'
        b'"tradeId":"148266905","px":"48938.5","sz":"5","side":"buy","ts":"1640131236050","count":"3"}]}',
        (Trade,),
    ),
    "bbo-tbt": (
        b'{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{' + _OKX_LEVELS + b',"seqId":12}]}',
        (Quote,),
    ),
    "tickers": (
        b'{"arg":{"channel":"tickers","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP",'
        b'"instId":"BTC-USDT-SWAP","last":"2.1729","lastSz":"0","askPx":"2.1738","askSz":"168",'
        b'"bidPx":"2.1737","bidSz":"2","open24h":"2.164","ts":"1640131263109"}]}',
        (Quote,),
    ),
    "books5": (
        b'{"arg":{"channel":"books5","instId":"BTC-USDT-SWAP"},"data":[{' + _OKX_LEVELS + b',"seqId":12}]}',
        (Book,),
    ),
    "books": (
        b'{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"snapshot","data":[{'
        + _OKX_LEVELS
        + b',"checksum":-304944287,"seqId":12,"prevSeqId":-1}]}',
        (Quote, Book),
    ),
    "mark-price": (
        b'{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP",'
        b'"instType":"SWAP","markPx":"2.1729","ts":"1640131259180"}]}',
        (ReferencePrice,),
    ),
    "index-tickers": (
        b'{"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",'
        b'"idxPx":"2.1675","open24h":"2.1599","ts":"1640131290649"}]}',
        (ReferencePrice,),
    ),
    "funding-rate": (
        b'{"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"fundingRate":"0.00048105",'
        b'"fundingTime":"1640131200000","instId":"BTC-USDT-SWAP","instType":"SWAP",'
        b'"nextFundingRate":"","ts":"1640131190000"}]}',
        (ReferencePrice,),
    ),
}

_BYBIT_LEVELS = b'"b":[["28552.00","0.047"]],"a":[["28552.10","25.433"]],"u":7003305,"seq":50193540681}}'
_BYBIT: dict[str, Example] = {
    "publicTrade": (
        b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1680688979985,"data":[{"T":1680688979983,'
        b'"s":"BTCUSDT","S":"Buy","v":"0.4","p":"94.53","L":"ZeroMinusTick",'
        b'"i":"4c7b6bdc-b4a3-5716-9c7b-bbe01dc7072f","BT":false},{"T":1680688979983,"s":"BTCUSDT",'
        b'"S":"Sell","v":"1","p":"94.5","L":"MinusTick","i":"2290000000036455162","BT":false}]}',
        (Trade, Trade),
    ),
    "tickers": (
        b'{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"28552.81",'
        b'"openInterest":"52774.528","fundingRate":"-0.0001"},"cs":50193544280,"ts":1680673821770}',
        (ReferencePrice,),
    ),
    "orderbook.1": (
        b'{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1680673820717,"data":{"s":"BTCUSDT",'
        + _BYBIT_LEVELS,
        (Quote,),
    ),
} | {
    f"orderbook.{depth}": (
        f'{{"topic":"orderbook.{depth}.BTCUSDT","type":"snapshot","ts":1680673820717,'.encode()
        + b'"cts":1680673820710,"data":{"s":"BTCUSDT",'
        + _BYBIT_LEVELS,
        (Quote, Book),
    )
    for depth in (50, 200, 500, 1000)
}


_BYBIT_BOOKS = frozenset(channel for channel in _BYBIT if channel.startswith("orderbook."))


def _without_direction(frame: bytes) -> bytes:
    return frame.replace(b'"L":"ZeroMinusTick",', b"").replace(b'"L":"MinusTick",', b"")


def _inverse(example: Example) -> Example:
    frame, kinds = example
    return frame.replace(b"BTCUSDT", b"BTCUSD"), kinds


_BYBIT_ANSWERS = {
    "acknowledgements": (
        b'{"success":true,"ret_msg":"","conn_id":"f428f979","req_id":"BTCUSDT","op":"subscribe"}',
        b'{"success":true,"ret_msg":"pong","conn_id":"f428f979","req_id":"","op":"ping"}',
    ),
    "refusal": b'{"success":false,"ret_msg":"error:handler not found,topic:orderbook.3.BTCUSDT",'
    b'"conn_id":"f428f979","req_id":"BTCUSDT","op":"subscribe"}',
    "refusal_words": ("somewhere", "subscribe", "BTCUSDT", "topic:orderbook.3.BTCUSDT"),
    "foreign": {b"BTCUSD": b"DOGEUSD"},
}

_COINBASE: dict[str, Example] = {
    "matches": (
        b'{"type":"match","trade_id":280232,"maker_order_id":"2a0da34e","taker_order_id":"3c82abaa",'
        b'"side":"sell","size":"985","price":"0.00001305","product_id":"BTC-USD","sequence":177100030,'
        b'"time":"2021-04-17T16:43:37.089723Z"}',
        (Trade,),
    ),
    "ticker": (
        b'{"type":"ticker","sequence":50978628538,"product_id":"BTC-USD","price":"17165.16",'
        b'"best_bid":"17165.15","best_bid_size":"0.61540890","best_ask":"17167.76",'
        b'"best_ask_size":"0.18528568","side":"sell","time":"2022-12-01T00:00:00.122581Z",'
        b'"trade_id":463751434,"last_size":"0.05"}',
        (Quote,),
    ),
    "level2_batch": (
        b'{"type":"snapshot","product_id":"BTC-USD","asks":[["40584.89","0.039985"]],'
        b'"bids":[["40533.24","0.020416"],["40531.19","1"]]}',
        (Quote, Book),
    ),
}

_KRAKEN: dict[str, Example] = {
    "trade": (
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":100.1,'
        b'"qty":0.25,"ord_type":"market","trade_id":123,"timestamp":"2026-07-10T00:00:00.123456Z"}]}',
        (Trade,),
    ),
    "ticker": (
        b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":99.9,"bid_qty":1.2,'
        b'"ask":100.1,"ask_qty":2.3,"last":100,"timestamp":"2026-07-10T00:00:02.123456Z"}]}',
        (Quote,),
    ),
    "book": (
        b'{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":199.90,'
        b'"qty":1.20}],"asks":[{"price":200.10,"qty":0.80}],"checksum":140354942,'
        b'"timestamp":"2026-07-10T00:00:01.123457Z"}]}',
        (Quote, Book),
    ),
}

_ALPACA_IEX: dict[str, Example] = {
    "trades": (
        b'[{"T":"t","S":"AAPL","i":6142,"x":"V","p":177.79,"s":90,"c":["@","I"],"z":"C",'
        b'"t":"2024-06-03T13:33:33.002960334Z"},{"T":"x","S":"AAPL","i":6142,"x":"V","p":177.79,"s":90,'
        b'"a":"C","z":"C","t":"2024-06-03T13:33:34.002960334Z"}]',
        (Trade,),
    ),
    "quotes": (
        b'[{"T":"q","S":"AAPL","bx":"V","bp":192.9,"bs":1,"ax":"V","ap":194,"as":14,"c":["R"],"z":"C",'
        b'"t":"2024-06-03T13:33:33.002960334Z"}]',
        (Quote,),
    ),
}
_ALPACA_CRYPTO: dict[str, Example] = {
    "trades": (
        b'[{"T":"t","S":"BTC/USD","p":47.299,"s":29.205707815,"t":"2024-03-12T10:27:48.858228144Z",'
        b'"i":3447222699101865076,"tks":"S"}]',
        (Trade,),
    ),
    "quotes": (
        b'[{"T":"q","S":"BTC/USD","bp":0.35718,"bs":13445.46,"ap":0.3581,"as":13561.902,'
        b'"t":"2024-03-12T10:29:43.111588173Z"}]',
        (Quote,),
    ),
    "orderbooks": (
        b'[{"T":"o","S":"BTC/USD","t":"2024-03-12T10:38:50.79613221Z","b":[{"p":71859.53,"s":0.27994},'
        b'{"p":71849.4,"s":0.553986}],"a":[{"p":71939.7,"s":0.83953}],"r":true}]',
        (Quote, Book),
    ),
}
_ALPACA_ANSWERS = {
    "acknowledgements": (
        b'[{"T":"success","msg":"connected"}]',
        b'[{"T":"success","msg":"authenticated"}]',
        b'[{"T":"subscription","trades":["AAPL"],"quotes":[],"bars":[],"corrections":["AAPL"]}]',
    ),
    "refusal": b'[{"T":"error","code":405,"msg":"symbol limit exceeded"}]',
    "refusal_words": ("somewhere", "symbol limit exceeded", "405"),
}

_POLYGON_STOCKS: dict[str, Example] = {
    "T": (
        b'[{"ev":"T","sym":"AAPL","i":"72815","x":12,"p":161.87,"s":1,"c":[14,37,41],"t":1651684192536,'
        b'"q":4009408,"z":3},{"ev":"T","sym":"AAPL","i":"799","x":4,"p":161.87,"s":100,"t":1651684192717,'
        b'"q":4009434,"z":3}]',
        (Trade, Trade),
    ),
    "Q": (
        b'[{"ev":"Q","sym":"AAPL","bx":11,"ax":15,"bp":125.8,"ap":125.84,"bs":26,"as":1,'
        b'"t":1614029108595,"z":3}]',
        (Quote,),
    ),
}
_POLYGON_CRYPTO: dict[str, Example] = {
    "XT": (
        b'[{"ev":"XT","pair":"BTC-USD","p":33021.9,"t":1610462007425,"s":0.01616617,"c":[2],'
        b'"i":"14272084","x":3,"r":1610462007576}]',
        (Trade,),
    ),
    "XQ": (
        b'[{"ev":"XQ","pair":"BTC-USD","bp":33052.79,"bs":0.48,"ap":33073.19,"as":0.601,'
        b'"t":1610462411115,"x":1,"r":1610462411128}]',
        (Quote,),
    ),
}
_POLYGON_ANSWERS = {
    "acknowledgements": (
        b'[{"ev":"status","status":"connected","message":"Connected Successfully"}]',
        b'[{"ev":"status","status":"auth_success","message":"authenticated"}]',
        b'[{"ev":"status","status":"success","message":"subscribed to: T.AAPL"}]',
    ),
    "refusal": b'[{"ev":"status","status":"auth_failed","message":"authentication failed"}]',
    "refusal_words": ("somewhere", "auth_failed", "authentication failed"),
}

_ALPHA_VANTAGE: dict[str, Example] = {
    "GLOBAL_QUOTE": (
        b'{"Global Quote":{"01. symbol":"IBM","02. open":"182.4300","03. high":"182.8000",'
        b'"04. low":"180.5700","05. price":"181.5800","06. volume":"3037990",'
        b'"07. latest trading day":"2024-04-19","08. previous close":"181.4700","09. change":"0.1100",'
        b'"10. change percent":"0.0606%"}}',
        (ReferencePrice,),
    )
}
_FMP: dict[str, Example] = {
    "quote": (
        b'[{"symbol":"AAPL","name":"Apple Inc.","price":268.47,"changePercentage":-0.48189,"change":-1.3,'
        b'"volume":45140079,"dayLow":266.82,"dayHigh":272.29,"marketCap":3967020108000,'
        b'"exchange":"NASDAQ","open":269.795,"previousClose":269.77,"timestamp":1762549202}]',
        (ReferencePrice,),
    )
}

_BINANCE_ANSWERS = {
    "acknowledgements": (b'{"result":null,"id":1}',),
    "refusal": b'{"code":2,"msg":"Invalid request: bad stream","id":1}',
    "refusal_words": ("somewhere", "Invalid request: bad stream", "code 2"),
    "foreign": {b"btcusd": b"dogeusd", b"BTCUSD": b"DOGEUSD"},
}
_TWO = {"BTCUSDT": Listing(1), "ETHUSDT": Listing(2)}

EXAMPLES = {
    "binance_spot": VenueExamples(_TWO, _SPOT, **_BINANCE_ANSWERS),
    "binance_usdm": VenueExamples(_TWO, _USDM, **_BINANCE_ANSWERS),
    "binance_coinm": VenueExamples(
        {"BTCUSD_PERP": Listing(1, 100.0, "quote"), "ETHUSD_PERP": Listing(2, 10.0, "quote")},
        {channel: _coin_margined(example) for channel, example in _USDM.items()},
        **_BINANCE_ANSWERS,
    ),
    "okx": VenueExamples(
        {"BTC-USDT-SWAP": Listing(1, 0.01), "ETH-USDT": Listing(2)},
        _OKX,
        acknowledgements=(
            b"pong",
            b'{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
            b'{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
            b'{"event":"channel-conn-count","channel":"books","connCount":"1","connId":"a4d3ae55"}',
        ),
        refusal=b'{"event":"error","code":"60018","msg":"channel:trades,instId:XX doesn\'t exist."}',
        refusal_words=("somewhere", "instId:XX doesn't exist", "60018"),
        foreign={b"BTC-USDT": b"DOGE-USDT"},
    ),
    "bybit_spot": VenueExamples(
        _TWO,
        {
            channel: (_without_direction(frame), kinds)
            for channel, (frame, kinds) in _BYBIT.items()
            if channel not in ("tickers", "orderbook.500")
        },
        **_BYBIT_ANSWERS,
        shared=_BYBIT_BOOKS,
    ),
    "bybit_linear": VenueExamples(_TWO, _BYBIT, **_BYBIT_ANSWERS, shared=_BYBIT_BOOKS),
    "bybit_inverse": VenueExamples(
        {"BTCUSD": Listing(1, 1.0, "quote"), "ETHUSD": Listing(2, 1.0, "quote")},
        {channel: _inverse(example) for channel, example in _BYBIT.items()},
        **_BYBIT_ANSWERS,
    ),
    "coinbase": VenueExamples(
        {"BTC-USD": Listing(1), "ETH-USD": Listing(2)},
        _COINBASE,
        acknowledgements=(
            b'{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}',
            b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD",'
            b'"time":"2014-11-07T08:19:28.464459Z"}',
        ),
        refusal=b'{"type":"error","message":"Failed to subscribe","reason":"XX-USD is not a valid product"}',
        refusal_words=("somewhere", "Failed to subscribe", "XX-USD is not a valid product"),
        foreign={b"BTC-USD": b"DOGE-USD"},
    ),
    "kraken": VenueExamples(
        {"BTC/USD": Listing(1), "ETH/USD": Listing(2)},
        _KRAKEN,
        acknowledgements=(
            b'{"channel":"heartbeat"}',
            b'{"channel":"status","type":"update","data":[{"api_version":"v2","system":"online"}]}',
            b'{"method":"subscribe","result":{"channel":"trade","snapshot":false,"symbol":"BTC/USD"},'
            b'"success":true,"time_in":"2026-07-10T00:00:00Z","time_out":"2026-07-10T00:00:00Z"}',
            b'{"method":"pong","time_in":"2026-07-10T00:00:00Z","time_out":"2026-07-10T00:00:00Z"}',
        ),
        refusal=b'{"error":"Currency pair not supported XX/USD","method":"subscribe","success":false,'
        b'"symbol":"XX/USD"}',
        refusal_words=("somewhere", "subscribe XX/USD", "Currency pair not supported XX/USD"),
        foreign={b"BTC/USD": b"DOGE/USD"},
    ),
    "alpaca_iex": VenueExamples(
        {"AAPL": Listing(1), "MSFT": Listing(2)}, _ALPACA_IEX, **_ALPACA_ANSWERS, foreign={b"AAPL": b"DOGE"}
    ),
    "alpaca_crypto": VenueExamples(
        {"BTC/USD": Listing(1), "ETH/USD": Listing(2)},
        _ALPACA_CRYPTO,
        **_ALPACA_ANSWERS,
        foreign={b"BTC/USD": b"DOGE/USD"},
    ),
    "polygon_stocks": VenueExamples(
        {"AAPL": Listing(1), "MSFT": Listing(2)},
        _POLYGON_STOCKS,
        **_POLYGON_ANSWERS,
        foreign={b"AAPL": b"DOGE"},
    ),
    "polygon_crypto": VenueExamples(
        {"BTC-USD": Listing(1), "ETH-USD": Listing(2)},
        _POLYGON_CRYPTO,
        **_POLYGON_ANSWERS,
        foreign={b"BTC-USD": b"DOGE-USD"},
    ),
    "finage": VenueExamples(
        {"BTCUSD": Listing(1), "AAPL": Listing(2)},
        {
            "trades": (
                b'{"s":"BTCUSD","p":"50555.5","q":"0.00012","dc":"-2.21","dd":"-1143.3","t":1635511459951}',
                (Trade,),
            )
        },
        acknowledgements=(
            b'{"status_code":200,"message":"authorizing","id":"e0fb1b68"}',
            b'{"status_code":200,"message":"connected to the adapter","id":"e0fb1b68"}',
        ),
        refusal=b'{"status_code":401,"message":"invalid socket key"}',
        refusal_words=("somewhere", "invalid socket key", "401"),
        foreign={b"BTCUSD": b"DOGEUSD"},
    ),
    "alpha_vantage": VenueExamples(
        {"IBM": Listing(1), "AAPL": Listing(2)},
        _ALPHA_VANTAGE,
        acknowledgements=(),
        refusal=b'{"Error Message":"Invalid API call. Please retry or visit the documentation"}',
        refusal_words=("somewhere", "Invalid API call"),
        foreign={b"IBM": b"DOGE"},
    ),
    "fmp": VenueExamples(
        {"AAPL": Listing(1), "IBM": Listing(2)},
        _FMP,
        acknowledgements=(),
        refusal=b'{"Error Message":"Invalid API KEY. Feel free to create a Free API Key"}',
        refusal_words=("somewhere", "Invalid API KEY"),
        foreign={b"AAPL": b"DOGE"},
    ),
}
