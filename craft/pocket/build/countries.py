"""Countries and territories with their two-letter codes, common English names and regions."""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """The country or territory of a flag; ``group`` is its region, as in "flags of africa"."""

    code: str
    name: str
    group: str
    sovereign: bool


# Regions follow the United Nations geoscheme; the Americas are divided at Panama.
SOVEREIGN = {
    "africa": """dz algeria, ao angola, bj benin, bw botswana, bf burkina faso, bi burundi,
        cv cape verde, cm cameroon, cf central african republic, td chad, km comoros,
        cg congo republic, cd democratic republic of congo, ci ivory coast, dj djibouti, eg egypt,
        gq equatorial guinea, er eritrea, sz eswatini, et ethiopia, ga gabon, gm gambia, gh ghana,
        gn guinea, gw guinea bissau, ke kenya, ls lesotho, lr liberia, ly libya, mg madagascar,
        mw malawi, ml mali, mr mauritania, mu mauritius, ma morocco, mz mozambique, na namibia,
        ne niger, ng nigeria, rw rwanda, st sao tome and principe, sn senegal, sc seychelles,
        sl sierra leone, so somalia, za south africa, ss south sudan, sd sudan, tz tanzania,
        tg togo, tn tunisia, ug uganda, zm zambia, zw zimbabwe""",
    "asia": """af afghanistan, am armenia, az azerbaijan, bh bahrain, bd bangladesh, bt bhutan,
        bn brunei, kh cambodia, cn china, cy cyprus, ge georgia, in india, id indonesia, ir iran,
        iq iraq, il israel, jp japan, jo jordan, kz kazakhstan, kw kuwait, kg kyrgyzstan, la laos,
        lb lebanon, my malaysia, mv maldives, mn mongolia, mm myanmar, np nepal, kp north korea,
        om oman, pk pakistan, ps palestine, ph philippines, qa qatar, sa saudi arabia,
        sg singapore, kr south korea, lk sri lanka, sy syria, tw taiwan, tj tajikistan,
        th thailand, tl timor leste, tr turkiye, tm turkmenistan, ae united arab emirates,
        uz uzbekistan, vn vietnam, ye yemen""",
    "europe": """al albania, ad andorra, at austria, by belarus, be belgium,
        ba bosnia and herzegovina, bg bulgaria, hr croatia, cz czechia, dk denmark, ee estonia,
        fi finland, fr france, de germany, gr greece, hu hungary, is iceland, ie ireland,
        it italy, xk kosovo, lv latvia, li liechtenstein, lt lithuania, lu luxembourg, mt malta,
        md moldova, mc monaco, me montenegro, nl netherlands, mk north macedonia, no norway,
        pl poland, pt portugal, ro romania, ru russia, sm san marino, rs serbia, sk slovakia,
        si slovenia, es spain, se sweden, ch switzerland, ua ukraine, gb united kingdom,
        va vatican city""",
    "north america": """ag antigua and barbuda, bs bahamas, bb barbados, bz belize, ca canada,
        cr costa rica, cu cuba, dm dominica, do dominican republic, sv el salvador, gd grenada,
        gt guatemala, ht haiti, hn honduras, jm jamaica, mx mexico, ni nicaragua, pa panama,
        kn saint kitts and nevis, lc saint lucia, vc saint vincent, tt trinidad and tobago,
        us united states""",
    "south america": """ar argentina, bo bolivia, br brazil, cl chile, co colombia, ec ecuador,
        gy guyana, py paraguay, pe peru, sr suriname, uy uruguay, ve venezuela""",
    "oceania": """au australia, fj fiji, ki kiribati, mh marshall islands, fm micronesia,
        nr nauru, nz new zealand, pw palau, pg papua new guinea, ws samoa, sb solomon islands,
        to tonga, tv tuvalu, vu vanuatu""",
}

TERRITORIES = {
    "africa": """io british indian ocean territory, tf french southern territories, yt mayotte,
        re reunion, sh saint helena, eh western sahara""",
    "asia": "hk hong kong, mo macao",
    "europe": """ax aland islands, fo faroe islands, gi gibraltar, gg guernsey, im isle of man,
        je jersey, sj svalbard""",
    "north america": """ai anguilla, aw aruba, bm bermuda, vg british virgin islands,
        bq caribbean netherlands, ky cayman islands, cw curacao, gl greenland, gp guadeloupe,
        mq martinique, ms montserrat, pr puerto rico, bl saint barthelemy, mf saint martin,
        pm saint pierre and miquelon, sx sint maarten, tc turks and caicos islands,
        vi us virgin islands""",
    "south america": """bv bouvet island, fk falkland islands, gf french guiana,
        gs south georgia""",
    "oceania": """as american samoa, cx christmas island, cc cocos islands, ck cook islands,
        pf french polynesia, gu guam, hm heard and mcdonald islands, nc new caledonia, nu niue,
        nf norfolk island, mp northern mariana islands, pn pitcairn islands, tk tokelau,
        um us outlying islands, wf wallis and futuna""",
}


def countries() -> list[Country]:
    """All countries and territories, sovereign ones first, because they keep a shared flag."""
    listed = []
    for sovereign, table in ((True, SOVEREIGN), (False, TERRITORIES)):
        for region, text in table.items():
            for entry in " ".join(text.split()).split(", "):
                code, name = entry.split(" ", 1)
                listed.append(Country(code, name, f"flags of {region}", sovereign))
    return listed
