"""The grids of the IQ formats: the points that a group of neighbouring weights may take, data of the file format.

A point is a number with a few bits for every weight of the group, the first weight in the lowest bits. A grid is kept as the set of its points: a bitmap,
compressed. The index of a point is its rank in ascending order.

Source: ggml's tables iq2xxs_grid, iq2xs_grid, iq2s_grid, iq3xxs_grid, iq3s_grid, iq1s_grid.
"""

from __future__ import annotations

import base64
import zlib
from functools import cache

import numpy as np

_BITMAPS = {
    "IQ2_XXS": (
        "c-rk)U6O+!49=H<cZL(xhrNgQKh=VwA}bWdcD2nn?G)N3A^*W2ZAoh)OMoRJt%%%fhNW)!MA(~UIlz&w{vWSv;N;RE7b9c8H!=V4eeXBy*Su!HNYA&Te})dDMt0DI673dV$k3}@(yj*^"
        "EQ;_p!QT^rNq4B69lQk|2jzSIUGQy&KT5HMF*2I;kA-j=A5=KdIuLK^f2|fDa>(aR)iMd7Pl&&gA7j7NWg2z{U`lZ;pYL4-1mB9O?*skZf75J=bFlkU8p5xResAin`^zkk_jFja>z}Rj"
        "34d^5zImK>qW1z|M&ggHx~8gYU27lIsrxIX9jm}@`r#T5cvS%YGfX`Hl!mYTgohSWbUWkWRee^GK=6H-=6}xQfytMKQ|f*Ed;x{x(&s7wQ<1(k@1NHjzP0~Nc;14nMtxPgJAD5SKDdgV"
        "`SV(QW&C5?k9_KF`@$0x<X$fj2m}IwKp^;d`~q5Z2cG"
    ),
    "IQ2_XS": (
        "c-rk)L9)Xj2n9y>PEU|5dJm7#>HQD$jn$|`P4#z?%<vXzH4z2mAwKn+o(Ql#9{}K<<eEENzYhI??uC0o4&M)3|LWVQU<hg6caYPPk3gGzHh$~3?pKGl8Jiw9?beSRFB+K+aXoQfqH?_d"
        "zF3q!tntdo{O<Mc+5e;Os~n%%XGZT`zT0)C;a}*;#^`aH)Bh26PLyNW`?c_F4^;hob!__|nVqp_fA_Og?GK<>dt@Vc`PB1oG^wgum&)nC@Dr1-;~dLAVUxmY%3;}~GzbLu<NuTgyZpbh"
        "c=!BCFrD+_c_Z<UIq(C^3q^RwTx}*-kn}RuxW_;@Ch!!8xw-%Ox$c;MKN(P;@N;1YHD-Ux@(wYAM^3lc$-Fq8e&c?lq&Xk1dirxLH}iiUcPi#iI{LQ<Q}}$W0Kn61jfZpCFJq3r*tb2O"
        "+H6${1cDp#e^&QtMs}&bBWguw&Jnu7(QW>DmU8Gkzby4nU?u>wx+d{Fj@1%H{eu?nbODg~-&VObukZT2Yo}`8b(h`QHHA!l{>eWxfgPG)8OoJcgVx78ySg4J{&V|ib^$PZ4}?EBK`k?G"
        "P(g>r8I$k%SJjATHxdGYKp+qZ1OmY|@CTCx68!"
    ),
    "IQ2_S": (
        "c-rk)NwS0>3=OHcr#OKuxQA!({)hR3C=lX+f74X)7FL58$V<r3Zd%bP0RLPOz$pWk;Dnzy;OAGg+d2adOnM#GEAs1X7+cbieg24ZUw@7;wyKan?fa&4Z2J}8$9>~``Suw>FG}()Xvh`V"
        "^i`P2M<!owD`?t(MIdy9z<=Z+_yN@XJH~$wv+=+4W+Go7_`kJpInU*DyN4&W=x>94lYD-@On$U%E?%GeF3=+m|M&M=dp)S~|Dd)5nSX!xz5gFPz?5Hwcl^J#?;?oK?EdNARenpr^yfRy"
        "<&e^Heds?h&`<oIR!I5R@c6Heye!9OpC5H`PaETpkY6t2Kh^iq3Gsh!*x#^y^`rddD*kjE|L^j9Q~t$v9-ib&_T~I9|KLB9PjH`KMDV;bcjgRhw77lk|E0cC{nL_&?F;)Jb%s>j)l};y"
        "{d0et1(9#-$$SaIz(6nY--HhO>~q0f=0{+C(BAKV>-+Nfk1g?^g!_x%L$1`fQXwB6>k3Mp4{slS9^StCF25&!=q`TdUoCC^*IHjG6ypEV9QkkR2Nd!PzO`y!m0<Y4j@8vfvR0D+Q|$lG"
        "aby2q*%wPYzVGWlW?ib!D_dI2zP;%?DMl2*z`(%3z`(%3z`#%9541rmBL"
    ),
    "IQ1": (
        "c-rk)O>f&s4CQb>bQQe$0V7q)UL7O3%PMxys&d$?<8`{%LPqVsUy>umBRfH(_Ruvd0*O76ha!jM<D*KOgS7x2TKWU}?qxm55?aUCYb;EwPQM#u_`L_j6nULvy#M<W^dWk)lr?>e?sniU"
        "klxJfu_V0+x$Q9CpUP?hrTU0$#{#E3{bYars{gEy?Lzp_Yi{u^|8rWGXZ!#E@`w1hfK07|e~`z~!BVl`-W)OG(}se6dl|nq7Pf)Q{P>>KxYRX$ZYipT;%MF_t0;nn=_KwQ9302}!R}o-"
        "%8!lZ{SS7lR|!C6iasOWZGqU^VrCyh{+!ug8a|JE)w#@YBHXGv){hmi-wmBpE&FS8P0{E4Eu;J$)^YyxdEB74ovhcR{KpsksO9>wey?~sIo|h$@~7&b7v~=!TLzMyoF9O9w#9hA#U4LE"
        ")Aa_F`LX(6^z{#8`!V=mVF4`$|CgivF!JACUH#AUJIm1bfa<U9`)M8Bf5e>?T(g~{PE6=tLNeOl_isXK!Cg!z;Xi^$2>RjHaz7}gjt99V{Ab+laIYEv8HasTUpX!<_oq_*C-{&Pi)bhL"
        "pBuK<V5UNSkNf-9+$q+VnFBr>#(|w`NByOe|Ab;T^qpz`|7xMGYZij99eTz7dErqn=aY2$iTf`e6F&a}LOf30llJ$0x{&iMT{_|UOXzgY`rSS`kbXrxU=`^<;8FViQ6G~%CEm(~JQ(C3"
        "z0yZbaY~ND8+J)<cKZF#|3Yy`Bl)KvBo9i3XZh#h<bRHxj^mpuZ=N`B^i~(lPtDHaRn>p!zbQOPUq#AiKjMD{{LTL17B_TGDe<cj|LIpBVWU)xC-0WehBcIgFU;$f_|?V?-rFsPIPH<o"
        "zj9l*Q>XietY1^SGuzorF<Wc&r%4Q;!U4Zf>K|1V-6dWueg9t-^8SX<Vm0<(tXU9$T(W(T+G=hqvs?}TANcDdzCQnkez?GA-3Sgeug<^F&k57{?=ZjTCe;0SdPC|@6<zs2eSc%aJX)Pi"
        "kYb<998X?Uzb2jJf3P=a`|;BLP0w%Wxzgu+j~AEoLwj}}SHu5wc)vre%3bmwo{Jg(GT2LhZ=g`)`76Yo=if^3vtclu@b)K@cq-HBKSlrjsQ+emkGYHbuR6GRJ|%p{we;W5!e4IOJv2DQ"
        "{}9g_p5^`1Fvkr-e%VKPuhZeq$a^MJkM?^A{u7Uob$4a;|B}D>TK;-$UFedz4f+4q=yZ)G`t)=2Z>V3mvs(=p+@b38ig~A(IiOHy`77^d8naVY*!UB+KY)Mmmj8rDx$uL`1g5ioYyVZ&"
        "|17i2GRrKp%reU?zn6Ri;@yKI"
    ),
    "IQ3_XXS": (
        "c-l=-F%H5o3_M%0RAmZ7_lgPeigaLyA4Q!IuVCbv_?)J2Rn;aw-<^~BWtxCXwzFx0%xW)eST<YW5KL&L;j#hAAHoX-c)&}FY<X@1m|7IGsjrX>q7@bAuHrcP3L2_`6x)_>^v5;&o?@Fd"
        "agv_Uo9H*utGOGEJ93R6P|L2rgx{U}Y-UnrS3sKYtPIbF!WdDS7|dsT<9UQCqzhJe8+4kK5km%XvHjm=J(sMgqk-e3v^zjTJayVggoDWMJzTWE4a0T)3l-9P!ydlNePrBA?Xny*@kmBo"
        "4W|8$?wEo20v5Uy_5"
    ),
    "IQ3_S": (
        "c-k#d!AiqG5PdVu!e&pqA>uXNMyUCUt<-~hDT4SrX{pfmmf{D9Rs{Q#&TgE;z`Qr}-rMBob#A|%IbF{W(Id*&Lkwq!%0~0(%@Ao{OU0lD_x2OXCI^OquXIKLt}o^pYnG?L6&oz+9HeSV"
        "PSrN(A}t!YmF^Xmp*3Qy-5G8(e|b5Y-VC?q(AA>+32wuC)HmEXp@c1}PT|h83}iuXSwt^ePGkv?U+Lf3a_=1ov?9@{igP&9v4ypFswx3&TJZ@M2_=SuX>*z&qp%+CoXl)ge8!drA@5Ag"
        "yn!FG+()?*sDei}n1QT95(J|p-wR7#Aht{0!Hx!aZfy;cl!bD4D3uqR(zW`GY5;6>@R{_|3X$jRqNR^eu)^e<Ll^vCYlKPU1;QQ+o$IB(hKom+bHx0SXmXXwyZnVo8~6jd#wQ>"
    ),
}


@cache
def grid(name: str) -> np.ndarray:
    """The levels int32[points, weights of a group] of a grid: 8 weights of 2 bits for IQ1 and IQ2, 4 weights of 3 bits for IQ3."""
    bitmap = np.frombuffer(zlib.decompress(base64.b85decode(_BITMAPS[name])), np.uint8)
    points = np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).astype(np.int32)
    width, count = (3, 4) if name.startswith("IQ3") else (2, 8)
    return points[:, None] >> width * np.arange(count) & 2**width - 1
